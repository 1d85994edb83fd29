package supervisor

import (
	"context"
	"sync"
	"time"

	"triptych.dev/triptych/internal/supervisor/events"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// chain runs all children. Its methods in lower case belong to its goroutine;
// Stop, Restart and Snapshot may be called from any.
type chain struct {
	members []*member // in the order of the table, replicas of a tier side by side
	say     func(format string, args ...any)
	// onReady is called once, when the head is ready for the first time.
	onReady func()
	// onStop is called once, first of all, when a stop begins. It must not block.
	onStop func()
	// beforeStop is called once before the first child is told to stop, and is
	// waited for: what clients find the head by is withdrawn here. It bounds
	// itself; its context ends when the stop becomes a fast one.
	beforeStop func(context.Context)
	// onPhase is called with every new phase.
	onPhase func(lifecycle.Phase)
	// record is told of every change of a child.
	record func(events.Event)

	events     chan func()
	done       chan struct{}
	background sync.WaitGroup // observers and waits for exits

	haste     haste
	withdrawn bool // beforeStop has returned
	hurry     context.CancelFunc
	announced bool // onReady was called
	phase     lifecycle.Phase
	failure   *FailedError

	mu       sync.Mutex
	snapshot Snapshot
	changed  chan struct{} // closed and replaced with every new snapshot
}

func newChain(members []*member, say func(string, ...any)) *chain {
	c := &chain{
		members: members, say: say, phase: lifecycle.PhaseStarting,
		onReady: func() {}, onStop: func() {}, beforeStop: func(context.Context) {}, onPhase: func(lifecycle.Phase) {}, record: func(events.Event) {},
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
	c.background.Wait()
	return c.verdict()
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
	c.forget()
	c.announce()
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
		if v := m.machine.View(); v.State == lifecycle.Failed && m.counts() && c.failure == nil {
			c.failure = &FailedError{Child: m.row.name, Exit: *v.LastExit}
			c.hasten(max(c.haste, graceful))
		}
	}
}

func (c *chain) startDue() {
	for _, m := range c.members {
		first := c.member(m.row.after)
		if m.machine.View().State == lifecycle.Idle && !m.retiring && (first == nil || first.machine.View().EverReady) {
			c.do(m, m.machine.Start(time.Now()))
		}
	}
}

// member returns the member of that name, or nil.
func (c *chain) member(name string) *member {
	for _, m := range c.members {
		if m.replica == name {
			return m
		}
	}
	return nil
}

// announce publishes what is so now, and tells what is told once or at changes of
// the whole.
func (c *chain) announce() {
	states, everReady, headReady := make([]lifecycle.State, 0, len(c.members)), true, false
	for _, m := range c.members {
		if !m.counts() {
			continue
		}
		v := m.machine.View()
		states, everReady = append(states, v.State), everReady && v.EverReady
		headReady = headReady || m.row.name == c.head() && v.State == lifecycle.Ready
	}
	before := c.phase
	if before == lifecycle.PhaseStarting && everReady {
		before = lifecycle.PhaseReady // a full etcd may never be ready with the rest
	}
	before, c.phase = c.phase, lifecycle.NextPhase(before, c.haste != atWork, states)
	// Who is told may ask, and the insecure port opens by what is published.
	c.publish()
	if headReady && !c.announced && c.haste == atWork {
		c.announced = true
		c.onReady()
	}
	if c.phase != before {
		c.onPhase(c.phase)
	}
}

// head is the name of the tier with the secure port.
func (c *chain) head() string { return c.members[len(c.members)-1].row.name }
