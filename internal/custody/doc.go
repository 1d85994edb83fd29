// Package custody is which etcd holds what extensions stores, CRDs and custom
// resources, and how that moves to another one. Both the process of extensions,
// which must not serve from the wrong etcd, and the supervisor, which moves the
// data, use it.
//
// It also moves everything below a prefix from one etcd to another: see Relocation.
//
// The main etcd, core's, has the last word: a record there names the etcd that is the
// holder. No record is the main etcd itself. Another holder has its own name
// in it, so that URLs may change and a wrong one is found out.
//
//	PREFIX/triptych/extensions-holder   the record, in the main etcd
//	PREFIX/triptych/extensions-moving   while a move is under way, by a lease, in the main etcd
//	PREFIX/triptych/extensions-name     the name of an etcd of extensions' own, in that
//	PREFIX/triptych/etcd-arriving       in an etcd that all is being moved to, until all is there
//
// No resource of core's is called triptych, and groups of custom resources have a dot.
package custody

import (
	"triptych.dev/triptych/internal/keyspace"
	"triptych.dev/triptych/internal/tier"
)

// keys are where things lie below one prefix.
type keys struct{ prefix string }

// under returns the keys below --etcd-prefix, as API servers read that flag.
func under(prefix string) keys { return keys{keyspace.Root(prefix)} }

// gaps is all where anything of extensions' can be.
func (k keys) gaps() []keyspace.Span { return keyspace.Stored(tier.Extensions, k.prefix) }

// news is what the record and the sign of a move have in common, and nothing else in
// the main etcd.
func (k keys) news() string { return k.prefix + "triptych/extensions-" }

func (k keys) record() string { return k.prefix + "triptych/extensions-holder" }
func (k keys) moving() string { return k.prefix + "triptych/extensions-moving" }
func (k keys) name() string   { return k.prefix + "triptych/extensions-name" }

// raise is written again and again to raise the revision, probe to find out whether
// two etcds are one.
func (k keys) raise() string { return k.prefix + "triptych/raise" }
func (k keys) probe() string { return k.prefix + "triptych/probe" }

// arriving is there until all has been moved, and holds the id of where from.
func (k keys) arriving() string { return k.prefix + "triptych/etcd-arriving" }

func (k keys) definitions() string {
	return k.prefix + "apiextensions.k8s.io/customresourcedefinitions/"
}
