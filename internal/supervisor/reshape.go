package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

var errStopping = errors.New("the supervisor is stopping")

// ask has the chain's goroutine call f.
func (c *chain) ask(f func() error) error {
	result := make(chan error, 1)
	c.post(func() { result <- f() })
	select {
	case err := <-result:
		return err
	case <-c.done:
		return errStopping
	}
}

// Join adds a replica to the tier of m, and starts it.
func (c *chain) Join(m *member) error {
	return c.ask(func() error {
		if c.haste != atWork {
			return errStopping
		}
		m.newcomer = true
		at := len(c.members)
		for i, other := range c.members {
			if other.row.name == m.row.name {
				at = i + 1
			}
		}
		c.members = slices.Insert(c.members, at, m)
		return nil
	})
}

// Retire stops the named member for good and returns when it is gone and forgotten.
// Told to stop it is in any case.
func (c *chain) Retire(ctx context.Context, name string) error {
	err := c.ask(func() error {
		m := c.member(name)
		if m == nil || c.haste != atWork {
			return nil
		}
		m.retiring = true
		c.do(m, m.machine.Stop(false))
		return nil
	})
	if err != nil {
		return err
	}
	return c.await(ctx, func(s Snapshot) (bool, error) {
		_, there := s.Children[name]
		return !there, nil
	})
}

// forget drops those who have stopped for good while others go on.
func (c *chain) forget() {
	c.members = slices.DeleteFunc(c.members, func(m *member) bool {
		return m.retiring && m.machine.View().State.Over() && c.haste == atWork
	})
}

// AwaitReady waits until the named member is ready, or has failed at it for the first
// time.
func (c *chain) AwaitReady(ctx context.Context, name string) error {
	return c.await(ctx, func(s Snapshot) (bool, error) {
		m := s.Children[name] // one that has just joined may not be there yet
		switch {
		case s.Phase == lifecycle.PhaseStopping:
			return false, errStopping
		case m.State == lifecycle.Ready:
			return true, nil
		case m.LastExit != nil:
			return false, errors.New(m.LastExit.String())
		}
		return false, nil
	})
}

// await returns when done says so, or its error.
func (c *chain) await(ctx context.Context, done func(Snapshot) (bool, error)) error {
	for {
		s, changed := c.Snapshot()
		if ok, err := done(s); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-c.done:
			return errStopping
		case <-ctx.Done():
			return fmt.Errorf("it takes too long: %w", ctx.Err())
		}
	}
}
