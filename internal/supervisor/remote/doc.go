// Package remote watches the tiers on other hosts: where their replicas are, and how
// they stand. One address of configuration names a host, or with a name as many as it
// resolves to; the first replica is at the address itself, and whichever replica is
// there says what others its host has.
//
// A host that is away keeps the places it had: the processes that call it watch them
// too, and answer 503. One that says that a replica is about to stop loses that place
// when nobody here sends anything there any more, and has waited for it.
package remote
