package supervisor

import (
	"context"
	"slices"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// Halt stops all replicas of the named tier, and returns when they are gone. They keep
// their places, and what is sent there is answered as if they had crashed.
func (c *chain) Halt(ctx context.Context, tier string) error {
	err := c.ask(func() error {
		if c.haste != atWork {
			return errStopping
		}
		for _, m := range c.members {
			if m.row.name == tier {
				c.do(m, m.machine.Stop(false))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.await(ctx, func(s Snapshot) (bool, error) {
		if s.Phase == lifecycle.PhaseStopping {
			return false, errStopping
		}
		return !slices.ContainsFunc(s.Of(tier), func(m Child) bool { return !m.State.Over() }), nil
	})
}

// Replace puts new members in the places of halted ones of the same names, and starts
// them.
func (c *chain) Replace(members []*member) error {
	return c.ask(func() error {
		if c.haste != atWork {
			return errStopping
		}
		for _, m := range members {
			for i, old := range c.members {
				if old.replica == m.replica && old.machine.View().State.Over() {
					c.members[i] = m
				}
			}
		}
		c.publish() // whoever asks next must not take the old ones for them
		return nil
	})
}
