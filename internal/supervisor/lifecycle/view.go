package lifecycle

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/tier"
)

// View is a machine at one moment, for reports.
type View struct {
	State State
	// Stage is the highest stage of the process, empty before the first.
	Stage tier.Stage
	// PID is 0 while there is no process.
	PID int
	// Started is when the process was launched; zero before the first.
	Started time.Time
	// Restarts counts the launches after the first.
	Restarts int
	// LastExit is how the process before this one ended, or nil.
	LastExit *Exit
	// EverReady tells whether any process of the child was ever ready.
	EverReady bool
	// Forced tells whether a process had to be killed instead of stopping.
	Forced bool
}

// View returns what there is to tell about the machine.
func (m *Machine) View() View {
	return View{
		State: m.state, Stage: m.stage, PID: m.pid, Started: m.started, Restarts: max(0, m.lives-1),
		LastExit: m.lastExit, EverReady: m.everReady, Forced: m.forced,
	}
}

func signalName(s syscall.Signal) string { return unix.SignalName(s) }

// StopBudget is how long the process may take to stop.
func (m *Machine) StopBudget() time.Duration { return m.cfg.StopBudget }
