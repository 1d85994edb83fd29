package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

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

// ForcedError tells that children did not stop by themselves and were killed, at
// the end of their budgets or because the user was in a hurry.
type ForcedError struct{ Children []string }

func (e *ForcedError) Error() string { return strings.Join(e.Children, ", ") + " had to be killed" }

// verdict is how it ended: nil after a graceful stop, a *FailedError or a
// *ForcedError. It is for after the end.
func (c *chain) verdict() error {
	if c.failure != nil {
		return c.failure
	}
	return c.forced()
}

// forced returns a *ForcedError if the stop was not graceful.
func (c *chain) forced() error {
	e := &ForcedError{}
	for _, m := range c.members {
		if m.machine.View().Forced {
			e.Children = append(e.Children, m.row.name)
		}
	}
	e.Children = slices.Compact(e.Children)
	if len(e.Children) == 0 {
		return nil
	}
	return e
}
