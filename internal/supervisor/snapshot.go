package supervisor

import (
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// Snapshot is the chain at one moment.
type Snapshot struct {
	Phase lifecycle.Phase
	// Children are by the name of the replica, or "etcd".
	Children map[string]Child
	// Names are theirs, in the order of the table.
	Names []string
	// Head is the name of the tier with the secure port.
	Head string
}

// Child is one child at one moment.
type Child struct {
	lifecycle.View
	// Tier is the name of its tier, or "etcd".
	Tier string
	// Retiring: it is about to stop for good, while others go on.
	Retiring bool
	// Description is who the process says it is, or nil before it did.
	Description *handshakev1.DescribeResponse
	// Release is what its processes are started of.
	Release release
	// Full is how large an etcd is that takes no more writes, or empty.
	Full string
}

// publish makes the snapshot that others see.
func (c *chain) publish() {
	s := Snapshot{Phase: c.phase, Children: map[string]Child{}, Head: c.head()}
	for _, m := range c.members {
		s.Names = append(s.Names, m.replica)
		s.Children[m.replica] = Child{
			View: m.machine.View(), Tier: m.row.name, Retiring: m.retiring, Description: m.description, Release: m.release, Full: m.full,
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot = s
	close(c.changed)
	c.changed = make(chan struct{})
}

// Snapshot returns what is so now, and a channel that is closed at the next
// change.
func (c *chain) Snapshot() (Snapshot, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot, c.changed
}

// Of returns the children of the named tier.
func (s Snapshot) Of(tier string) []Child {
	var all []Child
	for _, name := range s.Names {
		if c := s.Children[name]; c.Tier == tier {
			all = append(all, c)
		}
	}
	return all
}
