package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// haste is how a stop is to be done; it only ever grows.
type haste int

const (
	atWork   haste = iota
	graceful       // in order, each within its budget
	fast           // the tiers are killed, etcd still stops by itself
	brutal         // everything is killed
)

// Stop has all children stopped for good, each further call faster. It does not
// wait: Run returns.
func (c *chain) Stop(hurry bool) {
	c.post(func() {
		switch {
		case c.haste == atWork && !hurry:
			c.hasten(graceful)
		case c.haste < fast:
			c.hasten(fast)
		default:
			c.hasten(brutal)
		}
	})
}

// StopGracefully is the same as the first Stop, and nothing after it.
func (c *chain) StopGracefully() {
	c.post(func() {
		if c.haste == atWork {
			c.hasten(graceful)
		}
	})
}

// hasten begins a stop or speeds it up.
func (c *chain) hasten(to haste) {
	if c.haste == atWork {
		c.onStop()
		c.withdraw()
	}
	switch to {
	case c.haste:
		return
	case graceful:
		c.say("stopping: %s", c.plan())
	case fast:
		c.say("stopping at once: requests in flight are cut off")
		c.hurry()
	case brutal:
		c.say("killing everything")
	}
	c.haste = to
}

// withdraw calls beforeStop aside: it may talk to the children, which must be
// watched meanwhile.
func (c *chain) withdraw() {
	ctx, cancel := context.WithCancel(context.Background())
	c.hurry = cancel
	c.background.Go(func() {
		defer cancel()
		c.beforeStop(ctx)
		c.post(func() { c.withdrawn = true })
	})
}

// plan tells the order and the budgets.
func (c *chain) plan() string {
	var steps []string
	for _, m := range slices.Backward(c.members) {
		if s := m.machine.View().State; s != lifecycle.Idle && s != lifecycle.Held && !s.Over() {
			steps = append(steps, fmt.Sprintf("%s within %s", m.row.name, m.machine.StopBudget()))
		}
	}
	return strings.Join(slices.Compact(steps), ", then ") // replicas stop together
}

// stopDue tells the last of the table that is not gone yet to stop, all its replicas
// together, and in a hurry all tiers at once. The storage always waits for all others, and is only
// killed when everything is.
func (c *chain) stopDue() {
	if !c.withdrawn {
		return
	}
	gone, due, name := true, true, ""
	for _, m := range slices.Backward(c.members) {
		if m.row.name != name {
			name, due = m.row.name, gone
		}
		if m.machine.View().State.Over() {
			continue
		}
		patient := c.haste == graceful || (m.row.storage && c.haste < brutal)
		if patient && !due {
			return
		}
		c.do(m, m.machine.Stop(!patient))
		// One that has no process is gone at once, and no exit will tell.
		gone = gone && m.machine.View().State.Over()
	}
}
