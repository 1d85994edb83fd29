package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

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

// chain runs all children. Its methods in lower case belong to its goroutine;
// Stop, Restart and Snapshot may be called from any.
type chain struct {
	members []*member // in the order of the table
	say     func(format string, args ...any)
	// onReady is called once, when the head is ready for the first time.
	onReady func()
	// beforeStop is called once before the first child is told to stop, and is
	// waited for: what clients find the head by is withdrawn here.
	beforeStop func()
	// onPhase is called with every new phase.
	onPhase func(lifecycle.Phase)

	events  chan func()
	done    chan struct{}
	helpers sync.WaitGroup // observers and waits for exits

	haste     haste
	withdrawn bool // beforeStop has returned
	announced bool // onReady was called
	phase     lifecycle.Phase
	failure   *FailedError

	mu       sync.Mutex
	snapshot Snapshot
	changed  chan struct{} // closed and replaced with every new snapshot
}

// FailedError tells that the control plane cannot start.
type FailedError struct {
	// Child is the tier's name, or "etcd".
	Child string
	Exit  lifecycle.Exit
}

func (e *FailedError) Error() string {
	why := e.Exit.Reason
	if why == "" {
		why = e.Exit.String()
	}
	// A child's last word may begin with the same.
	for _, prefix := range []string{"cannot start " + e.Child + ":", e.Child + ":"} {
		why = strings.TrimSpace(strings.TrimPrefix(why, prefix))
	}
	return fmt.Sprintf("cannot start %s: %s", e.Child, why)
}

func newChain(members []*member, say func(string, ...any)) *chain {
	c := &chain{
		members: members, say: say, phase: lifecycle.PhaseStarting,
		onReady: func() {}, beforeStop: func() {}, onPhase: func(lifecycle.Phase) {},
		events: make(chan func()), done: make(chan struct{}), changed: make(chan struct{}),
	}
	c.publish()
	return c
}

// Run starts the children and returns when all are gone, with the verdict.
func (c *chain) Run() error {
	c.settle()
	for !c.over() {
		(<-c.events)()
		c.settle()
	}
	close(c.done)
	c.helpers.Wait()
	return c.verdict()
}

// verdict is how it ended: nil after a graceful stop, a *FailedError or a
// *ForcedError. It is for after the end.
func (c *chain) verdict() error {
	if c.failure != nil {
		return c.failure
	}
	return c.forced()
}

// post hands f to the chain's goroutine; after the end it is dropped.
func (c *chain) post(f func()) {
	select {
	case c.events <- f:
	case <-c.done:
	}
}

// settle draws the consequences of an event: who may start, who must stop, what
// there is to tell.
func (c *chain) settle() {
	c.fail()
	if c.haste == atWork {
		c.startDue()
	} else {
		c.stopDue()
	}
	c.announce()
	c.publish()
}

// over tells whether all children are gone for good.
func (c *chain) over() bool {
	for _, m := range c.members {
		if !m.machine.View().State.Over() {
			return false
		}
	}
	return c.haste == atWork || c.withdrawn
}

// fail stops everything when a child failed: the others are of no use without.
func (c *chain) fail() {
	for _, m := range c.members {
		if v := m.machine.View(); v.State == lifecycle.Failed && c.failure == nil {
			c.failure = &FailedError{Child: m.row.name, Exit: *v.LastExit}
			c.hasten(graceful)
		}
	}
}

func (c *chain) startDue() {
	for _, m := range c.members {
		first := c.member(m.row.after)
		if m.machine.View().State == lifecycle.Idle && (first == nil || first.machine.View().EverReady) {
			c.do(m, m.machine.Start(time.Now()))
		}
	}
}

// stopDue tells the last of the table that is not gone yet to stop, and in a
// hurry all tiers at once. The storage always waits for all others, and is only
// killed when everything is.
func (c *chain) stopDue() {
	if !c.withdrawn {
		return
	}
	gone := true
	for _, m := range slices.Backward(c.members) {
		if m.machine.View().State.Over() {
			continue
		}
		patient := c.haste == graceful || (m.row.storage && c.haste < brutal)
		if patient && !gone {
			return
		}
		c.do(m, m.machine.Stop(!patient))
		// One that has no process is gone at once, and no exit will tell.
		gone = gone && m.machine.View().State.Over()
	}
}

func (c *chain) member(name string) *member {
	for _, m := range c.members {
		if m.row.name == name {
			return m
		}
	}
	return nil
}

// announce tells what is told once or at changes of the whole.
func (c *chain) announce() {
	states := make([]lifecycle.State, 0, len(c.members))
	for _, m := range c.members {
		states = append(states, m.machine.View().State)
	}
	if head := states[len(states)-1]; head == lifecycle.Ready && !c.announced {
		c.announced = true
		c.onReady()
	}
	if next := lifecycle.NextPhase(c.phase, c.haste != atWork, states); next != c.phase {
		c.phase = next
		c.onPhase(next)
	}
}

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

func (c *chain) hasten(to haste) {
	from := c.haste
	c.haste = to
	switch to {
	case graceful:
		c.say("stopping: %s", c.plan())
	case fast:
		c.say("stopping at once: requests in flight are cut off")
	case brutal:
		c.say("killing everything")
	}
	if from == atWork {
		c.withdraw()
	}
}

// withdraw calls beforeStop aside: it may talk to the children, which must be
// watched meanwhile.
func (c *chain) withdraw() {
	c.helpers.Go(func() {
		c.beforeStop()
		c.post(func() { c.withdrawn = true })
	})
}

// plan tells the order and the budgets.
func (c *chain) plan() string {
	var steps []string
	for _, m := range slices.Backward(c.members) {
		if s := m.machine.View().State; s != lifecycle.Idle && !s.Over() {
			steps = append(steps, fmt.Sprintf("%s within %s", m.row.name, m.machine.StopBudget()))
		}
	}
	return strings.Join(steps, ", then ")
}

// Restart stops the named child gracefully, starts it again, and waits until it
// is ready. Errors name the child.
func (c *chain) Restart(ctx context.Context, name string) error {
	result := make(chan error, 1)
	life := 0
	c.post(func() {
		m := c.member(name)
		if m == nil {
			result <- fmt.Errorf("cannot restart %s: it is not a child of this supervisor", name)
			return
		}
		do, ok := m.machine.Restart(time.Now())
		if !ok {
			result <- fmt.Errorf("cannot restart %s: it is %s", name, m.machine.View().State)
			return
		}
		life = m.machine.View().Restarts
		if m.machine.View().State != lifecycle.Starting {
			life++ // the process that is stopping is still the old one
		}
		c.do(m, do)
		result <- nil
	})
	select {
	case err := <-result:
		if err != nil {
			return err
		}
	case <-c.done:
		return fmt.Errorf("cannot restart %s: the supervisor is stopping", name)
	}
	return c.awaitReady(ctx, name, life)
}

// awaitReady waits until the named child is ready in its given life or a later
// one. The first exit in between is the answer.
func (c *chain) awaitReady(ctx context.Context, name string, life int) error {
	for {
		s, changed := c.Snapshot()
		v := s.Children[name].View
		switch {
		case v.Restarts >= life && v.State == lifecycle.Ready:
			return nil
		case v.Restarts >= life && v.State == lifecycle.Backoff, v.State.Over():
			return fmt.Errorf("cannot restart %s: %s", name, v.LastExit)
		case s.Phase == lifecycle.PhaseStopping && v.State == lifecycle.Stopping:
			return fmt.Errorf("cannot restart %s: the supervisor is stopping", name)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready yet: %w", name, ctx.Err())
		}
	}
}
