// Package handshake is how the processes of Triptych know of one another.
//
// Every process serves grpc.health.v1.Health, where each stage of package tier
// is a service that becomes SERVING when the stage is reached, and beside it
// the Handshake service of package handshakev1, which says the rest: who is
// there, what it serves, and how its checks stand. Whoever depends on a process
// watches it with a Client; nobody polls.
//
// A Client survives the death of what it watches. It knows three things of a
// delegate at any moment: whether it may be sent requests (Available), what it
// serves or last served (Routes), and, when it returned, that it is another
// incarnation.
package handshake

import (
	"fmt"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

const (
	// Protocol is the newest version of the handshake and of the hop that this
	// build speaks.
	Protocol = 1
	// OldestProtocol is the oldest one it still speaks: a tier is replaced one
	// process at a time, so the version before must work.
	OldestProtocol = 1
)

// Compatible returns nil when a process described by d and this one, which has
// the given settings, may work together. The error names what differs.
func Compatible(d *handshakev1.DescribeResponse, settings map[string]string) error {
	if d.GetProtocol() < OldestProtocol || d.GetOldestProtocol() > Protocol {
		return fmt.Errorf("%s speaks protocols %d to %d, this is %d to %d: install one version of Triptych for all tiers",
			d.GetTier(), d.GetOldestProtocol(), d.GetProtocol(), OldestProtocol, Protocol)
	}
	for name, hash := range settings {
		if theirs, known := d.GetSettings()[name]; known && theirs != hash {
			return fmt.Errorf("%s was started with another value of --%s: it must be the same in all tiers", d.GetTier(), name)
		}
	}
	return nil
}
