package supervisor

import (
	"context"
	"fmt"
	"time"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

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
		// A full etcd was ready, for a moment that may have passed unseen.
		ready := v.State == lifecycle.Ready || v.State == lifecycle.Unready && s.Children[name].Full != ""
		switch {
		case v.Restarts >= life && ready:
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
