package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// tooManyDeaths is how often one new process may die before the upgrade is given up.
// One death may be chance, and what a crash is restarted for.
const tooManyDeaths = 3

// inwards is the order in which processes become old again: outwards, backwards.
func inwards(here []tier.Name) []tier.Name {
	order := outwards(here)
	slices.Reverse(order)
	return order
}

// pass has all processes be of a release, and watches for a while that they stay.
func (u *upgrade) pass(ctx context.Context, to release) error {
	v := u.v
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := v.chain.await(ctx, func(s Snapshot) (bool, error) { return false, s.dying(to) })
		if tooMany := (&dyingError{}); errors.As(err, &tooMany) {
			cancel(tooMany)
		}
	}()
	err := v.converge(ctx, outwards(v.setup.here), to, u.asked.ReadyWithin)
	if err == nil {
		v.upgrades.doing("watching the new processes")
		err = v.settle(ctx, to, u.asked)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// dyingError tells of a new process that dies again and again.
type dyingError struct {
	who  string
	exit *lifecycle.Exit
}

func (e *dyingError) Error() string {
	return fmt.Sprintf("%s has died %d times, at last: %s", e.who, tooManyDeaths, e.exit)
}

func (s Snapshot) dying(of release) error {
	for name, is := range s.Children {
		if is.Release == of && is.Restarts >= tooManyDeaths {
			return &dyingError{who: name, exit: is.LastExit}
		}
	}
	return nil
}

// converge has every process of the tiers be of a release, one at a time and each when
// another has taken its place. Those that are so already stay. It stops at the first
// that does not become ready in time, which is then gone, or when ctx ends.
func (v *Supervisor) converge(ctx context.Context, order []tier.Name, to release, within time.Duration) error {
	for _, name := range order {
		v.setup.releases[name] = to
		for _, p := range v.setup.sockets.of(name) {
			who := replica(name, p.index)
			if now, _ := v.chain.Snapshot(); now.Children[who].Release == to {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			v.upgrades.doing(fmt.Sprintf("replacing %s by %s", who, to.program(name)))
			if err := v.grow(ctx, name, within); err != nil {
				return err
			}
			// The new one serves, so the old one goes, whatever comes.
			if err := v.shrink(context.WithoutCancel(ctx), name, p); err != nil {
				return fmt.Errorf("cannot take %s out: %w", who, err)
			}
		}
	}
	return nil
}

// awaitReadyWithin is AwaitReady with a bound of its own; 0 is none.
func (v *Supervisor) awaitReadyWithin(ctx context.Context, name string, within time.Duration) error {
	if within == 0 {
		return v.chain.AwaitReady(ctx, name)
	}
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := v.chain.AwaitReady(bounded, name)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return fmt.Errorf("it is not ready within %s: supervisor logs may say why", within)
	}
	return err
}

// sickFirst puts the tiers first that have a process which is not well: the others may
// wait for them when they start.
func (s Snapshot) sickFirst(order []tier.Name) []tier.Name {
	sick := func(name tier.Name) bool {
		return slices.ContainsFunc(s.Of(string(name)), func(is Child) bool { return is.State != lifecycle.Ready || is.Restarts > 0 })
	}
	order = slices.Clone(order)
	slices.SortStableFunc(order, func(a, b tier.Name) int {
		switch x, y := sick(a), sick(b); {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return 0
	})
	return order
}

// settle returns when all processes of a release have been ready for a while on end.
func (v *Supervisor) settle(ctx context.Context, of release, asked control.UpgradeRequest) error {
	for {
		before := v.deaths(of)
		select {
		case <-time.After(asked.Settle):
		case <-ctx.Done():
			return ctx.Err()
		}
		bounded, cancel := context.WithTimeout(ctx, asked.ReadyWithin)
		err := v.chain.await(bounded, func(s Snapshot) (bool, error) { return s.allReady(of), nil })
		cancel()
		if err != nil {
			return fmt.Errorf("the new processes do not stay ready: %w", err)
		}
		if v.deaths(of) == before {
			return nil
		}
	}
}

func (v *Supervisor) deaths(of release) (n int) {
	now, _ := v.chain.Snapshot()
	for _, is := range now.Children {
		if is.Release == of {
			n += is.Restarts
		}
	}
	return n
}

func (s Snapshot) allReady(of release) bool {
	for _, is := range s.Children {
		if is.Release == of && is.State != lifecycle.Ready {
			return false
		}
	}
	return true
}

// stopping tells whether the whole is told to stop, which is no failure of an upgrade.
func (v *Supervisor) stopping() bool {
	now, _ := v.chain.Snapshot()
	return now.Phase == lifecycle.PhaseStopping
}

func (s *upgrades) now() *upgrade {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

func (s *upgrades) set(u *upgrade) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.step, s.problem = u, "checking the programs", ""
}

func (s *upgrades) doing(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = step
}

func (s *upgrades) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.step = nil, ""
	if err != nil {
		s.problem = err.Error()
	}
}

// upgradeStatus is nil if there is nothing to tell.
func (v *Supervisor) upgradeStatus() *control.Upgrade {
	m := v.setup.memory.Load()
	v.upgrades.mu.Lock()
	defer v.upgrades.mu.Unlock()
	if m == nil && v.upgrades.problem == "" {
		return nil
	}
	is := &control.Upgrade{Step: v.upgrades.step, Problem: v.upgrades.problem, CanRollBack: m.back()}
	if m != nil {
		is.State, is.From, is.To, is.Emulates = m.State, m.From, m.To, m.Emulate
		is.FromKubernetes, is.ToKubernetes = m.FromKubernetes, m.ToKubernetes
	}
	return is
}
