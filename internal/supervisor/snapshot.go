package supervisor

import (
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// Snapshot is the chain at one moment.
type Snapshot struct {
	Phase lifecycle.Phase
	// Children are by the name of the tier, or "etcd".
	Children map[string]Child
	// Head is the name of the tier with the secure port.
	Head string
}

// Child is one child at one moment.
type Child struct {
	lifecycle.View
	// Description is who the process says it is, or nil before it did.
	Description *handshakev1.DescribeResponse
	// Full is how large an etcd is that takes no more writes, or empty.
	Full string
}

// publish makes the snapshot that others see.
func (c *chain) publish() {
	s := Snapshot{Phase: c.phase, Children: map[string]Child{}, Head: c.members[len(c.members)-1].row.name}
	for _, m := range c.members {
		s.Children[m.row.name] = Child{View: m.machine.View(), Description: m.description, Full: m.full}
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
