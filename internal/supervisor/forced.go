package supervisor

import "fmt"

// ForcedError tells that a child did not stop by itself and was killed, at the
// end of its budget or because the user was in a hurry.
type ForcedError struct{ Child string }

func (e *ForcedError) Error() string { return fmt.Sprintf("%s had to be killed", e.Child) }

// forced returns a *ForcedError if the stop was not graceful.
func (c *chain) forced() error {
	for _, m := range c.members {
		if m.machine.View().Forced {
			return &ForcedError{Child: m.row.name}
		}
	}
	return nil
}
