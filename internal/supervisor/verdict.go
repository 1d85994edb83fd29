package supervisor

import (
	"fmt"
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

// ForcedError tells that a child did not stop by itself and was killed, at the
// end of its budget or because the user was in a hurry.
type ForcedError struct{ Child string }

func (e *ForcedError) Error() string { return fmt.Sprintf("%s had to be killed", e.Child) }

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
	for _, m := range c.members {
		if m.machine.View().Forced {
			return &ForcedError{Child: m.row.name}
		}
	}
	return nil
}
