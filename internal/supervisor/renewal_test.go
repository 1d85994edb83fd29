package supervisor

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

// watchedClock tells of each look at it. What it says may be set; its tickers go on meanwhile.
type watchedClock struct {
	*testingclock.FakeClock
	set   atomic.Int64 // how far, in nanoseconds
	looks chan struct{}
}

func (c *watchedClock) says() time.Time { return c.FakeClock.Now().Add(time.Duration(c.set.Load())) }

func (c *watchedClock) Now() time.Time {
	c.looks <- struct{}{}
	return c.says()
}

// Certificates are renewed when they are due and not before, again after a pause and not before while that fails, and also when the
// clock has been set back or a machine has slept.
func TestCertificatesAreRenewedWhenTheyAreDue(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := &watchedClock{FakeClock: testingclock.NewFakeClock(begin), looks: make(chan struct{})}
	r, pause, renewed := &renewals{}, time.Minute, 0
	var fails error
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		r.follow(c, done, pause, func() {
			renewed++
			r.report(c.says().Add(time.Hour), fails)
		})
	}()
	for !c.HasWaiters() { // until it has its ticker
		runtime.Gosched()
	}
	// pass has the loop look at the clock twice: what came of the first look is then over.
	pass := func(d time.Duration) {
		for _, step := range []time.Duration{d - glance, glance} {
			c.Step(step)
			<-c.looks
		}
	}
	expect := func(what string, want int) {
		t.Helper()
		if renewed != want {
			t.Errorf("%s: renewed %d times, want %d", what, renewed, want)
		}
	}
	pass(24 * time.Hour)
	expect("nothing is due", 0)
	r.report(c.says().Add(time.Hour), nil)
	pass(30 * time.Minute)
	expect("before it is due", 0)
	pass(29 * time.Minute)
	expect("a minute before it is due", 0)
	pass(2 * time.Minute)
	expect("it is due", 1)
	pass(50 * time.Minute)
	expect("the next is not due", 1)
	fails = errors.New("no room")
	pass(15 * time.Minute)
	expect("the next is due, and fails", 2)
	pass(pause / 2)
	expect("half a pause after it failed", 2)
	pass(pause)
	expect("after a pause", 3)
	fails = nil
	pass(pause + glance)
	expect("after another one it works", 4)
	pass(50 * time.Minute)
	expect("it worked", 4)
	pass(48 * time.Hour)
	expect("the machine has slept for two days", 5)
	c.set.Add(int64(-24 * time.Hour))
	pass(2 * time.Hour)
	expect("the clock was set back, by which nothing is due", 5)
	fails = errors.New("no room")
	pass(24 * time.Hour)
	expect("it is due again, and fails", 6)
	c.set.Add(int64(-24 * time.Hour))
	pass(pause / 2)
	expect("the clock was set back after it failed", 7)
	close(done)
	<-ended
}
