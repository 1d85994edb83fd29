package lifecycle

import "time"

const (
	held    = "stopped by operator"
	resumed = "started by operator"
)

// Hold has the child stopped, gracefully, until Resume: no crash and no timer starts it again. changed
// tells whether that is news; one that is over stays what it is.
func (m *Machine) Hold() (do []Action, changed bool) {
	switch m.state {
	case Idle, Backoff:
		m.transition(Held, held)
	case Starting, Ready, Unready:
		m.goal = hold
		m.terminate(held)
	case Stopping, Killing:
		if m.goal != again && m.goal != restart {
			return nil, false
		}
		m.goal = hold
	default:
		return nil, false
	}
	return m.actions(), true
}

// Resume has a child that is held started again, at once or when its process is gone. changed tells
// whether it was held.
func (m *Machine) Resume(now time.Time) (do []Action, changed bool) {
	switch {
	case m.state == Held:
		m.crashes = 0
		m.launch(now, resumed)
	case m.goal == hold && (m.state == Stopping || m.state == Killing):
		m.goal, m.crashes = restart, 0
	default:
		return nil, false
	}
	return m.actions(), true
}
