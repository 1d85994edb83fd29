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
	"strconv"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

// protocol can be stamped by -ldflags -X, for a test that runs two versions side by
// side.
//
//	1  settings have a hash of --emulated-version
//	2  settings have the Kubernetes version that is emulated instead: see Emulated
var protocol = "2"

var (
	// Protocol is the newest version of the handshake and of the hop that this
	// build speaks.
	Protocol = number(protocol)
	// OldestProtocol is the oldest one it still speaks: a tier is replaced one
	// process at a time, so the version before must work.
	OldestProtocol = Protocol - 1
)

func number(s string) int32 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		panic("handshake: the build was stamped with the protocol " + s)
	}
	return int32(n)
}

// Overlap returns nil when someone who speaks the protocols from oldest to newest can
// work with this build. The error says what both speak.
func Overlap(who string, newest, oldest int32) error {
	if newest < OldestProtocol || oldest > Protocol {
		return fmt.Errorf("%s speaks protocols %d to %d, this is %d to %d: install one version of Triptych for all tiers",
			who, oldest, newest, OldestProtocol, Protocol)
	}
	return nil
}

// Compatible returns nil when a process described by d and this one, which has
// the given settings, may work together. The error names what differs.
func Compatible(d *handshakev1.DescribeResponse, settings map[string]string) error {
	if err := Overlap(d.GetTier(), d.GetProtocol(), d.GetOldestProtocol()); err != nil {
		return err
	}
	for name, hash := range settings {
		theirs, known := d.GetSettings()[name]
		if known && name == Emulated {
			if !neighbours(theirs, hash) {
				return fmt.Errorf("%s is Kubernetes %s, or emulates it, and this %s: tiers may be one minor apart while they are upgraded, and no more",
					d.GetTier(), theirs, hash)
			}
			continue
		}
		if known && theirs != hash {
			return fmt.Errorf("%s was started with another value of --%s: it must be the same in all tiers", d.GetTier(), name)
		}
	}
	return nil
}
