package lifecycle

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"triptych.dev/triptych/internal/tier"
)

// Config is what differs between children.
type Config struct {
	// StopBudget is how long the process may take to stop before it is killed.
	StopBudget time.Duration
	// HopelessCode is the exit code by which a process says that its flags, files
	// or wiring are wrong, so that starting it again cannot help.
	HopelessCode int
	// NeededAtStart makes every exit with a code before the first Ready a failure, and
	// not only one that blames the configuration.
	NeededAtStart bool
	// Stages are those the process reports, in their order.
	Stages []tier.Stage
	// StopSignal asks the process to stop.
	StopSignal syscall.Signal
	// Chance returns a number in [0, 1) for the jitter of backoffs.
	Chance func() float64
}

// Machine is the state of one child. It is not safe for concurrent use: one
// goroutine owns it. Every event returns what is to be done about it.
type Machine struct {
	cfg   Config
	state State
	goal  goal
	why   string // of the stop or kill that is under way

	pid        int
	stage      tier.Stage // the highest reached
	started    time.Time
	readySince time.Time
	life       vitals
	everReady  bool
	rejected   bool // the process must not be worked with
	forced     bool

	lives    int
	crashes  int // since the last time it was healthy for long
	lastExit *Exit

	out []Action
}

// New returns a machine in Idle.
func New(cfg Config) *Machine { return &Machine{cfg: cfg, state: Idle} }

// Start has the child started, if it never was.
func (m *Machine) Start(now time.Time) []Action {
	if m.state == Idle {
		m.launch(now, "")
	}
	return m.actions()
}

// Spawned says that the process asked for exists.
func (m *Machine) Spawned(pid int) []Action {
	m.pid = pid
	return m.actions()
}

// Reached says that the process reached a stage. All stages before it count as
// reached: they are watched side by side, so news of them may come later.
func (m *Machine) Reached(now time.Time, stage tier.Stage) []Action {
	if !m.state.Alive() {
		return m.actions()
	}
	for _, s := range m.cfg.Stages {
		if m.state == Unready && s == tier.Ready {
			continue // regained, which the change of state tells
		}
		if !m.stage.AtLeast(s) && stage.AtLeast(s) && (stage != tier.Draining || s == stage) {
			m.emit(Stage{Name: string(s), After: now.Sub(m.started)})
		}
	}
	if stage.AtLeast(m.stage) {
		m.stage = stage
	}
	if stage == tier.Ready && (m.state == Starting || m.state == Unready) {
		m.readySince, m.everReady = now, true
		m.transition(Ready, "")
	}
	return m.actions()
}

// ReadinessLost says that the process is no longer ready.
func (m *Machine) ReadinessLost(now time.Time) []Action {
	if m.state == Ready {
		m.forgive(now)
		if m.stage == tier.Ready {
			m.stage = tier.Prepared
		}
		m.transition(Unready, "")
	}
	return m.actions()
}

// Exited says that the process is gone and was waited for.
func (m *Machine) Exited(now time.Time, e Exit) []Action {
	if !m.state.Alive() {
		return m.actions()
	}
	was := m.state
	m.forgive(now)
	if m.why != "" {
		e.Reason = m.why
	}
	if m.strange(e) {
		m.rejected, e.Reason = true, "it ended at once and did not answer: is the right program in its place?"
	}
	e.Hopeless = m.rejected || (m.why == "" && e.Code == m.cfg.HopelessCode)
	m.lastExit, m.pid, m.stage, m.why = &e, 0, "", ""
	if was != Stopping && was != Killing {
		m.goal = m.verdict(e)
	}
	m.follow(now, e)
	return m.actions()
}

// strange tells a program that is none of ours: it ends well, though nobody
// asked it to, before it has said anything about itself.
func (m *Machine) strange(e Exit) bool {
	return m.why == "" && e.Code == 0 && e.Signal == 0 && !m.everReady && m.stage == "" && !m.life.breathed
}

// verdict is the goal after an exit nobody asked for. A signal comes from outside, say from
// a kernel that is short of memory, and says nothing about the next try.
func (m *Machine) verdict(e Exit) goal {
	if !m.everReady && (e.Hopeless || m.cfg.NeededAtStart && e.Signal == 0) {
		return fail
	}
	return again
}

// follow does what the goal says after an exit.
func (m *Machine) follow(now time.Time, e Exit) {
	switch m.goal {
	case stay:
		m.transition(Stopped, "")
	case hold:
		m.transition(Held, "")
	case fail:
		m.transition(Failed, e.String())
	case restart:
		m.launch(now, e.String())
	default:
		m.crashes++
		delay := backoff(m.crashes, m.cfg.Chance())
		m.transition(Backoff, fmt.Sprintf("%s; starting again in %s", e, delay.Round(time.Millisecond)))
		m.emit(Arm{After: delay})
	}
}

// Elapsed says that the timer went off.
func (m *Machine) Elapsed(now time.Time) []Action {
	switch m.state {
	case Backoff:
		m.launch(now, "")
	case Stopping:
		m.forced = true
		m.kill(fmt.Sprintf("did not stop within %s", m.cfg.StopBudget))
	}
	return m.actions()
}

// Rejected says that the process must not be worked with. Before the first
// Ready that fails the child; later another is tried after a backoff.
func (m *Machine) Rejected(reason string) []Action {
	if m.state == Starting || m.state == Ready || m.state == Unready {
		m.goal, m.rejected = again, true
		if !m.everReady {
			m.goal = fail
		}
		m.terminate(reason)
	}
	return m.actions()
}

// Restart has the process stopped gracefully and another started at once. ok is
// false when the child is stopping for good.
func (m *Machine) Restart(now time.Time) (do []Action, ok bool) {
	switch m.state {
	case Starting, Ready, Unready:
		m.goal, m.crashes = restart, 0
		m.terminate("restart asked for")
	case Backoff:
		m.crashes = 0
		m.launch(now, "restart asked for")
	case Stopping, Killing:
		if m.goal == stay || m.goal == fail {
			return nil, false
		}
		m.goal = restart
	default:
		return nil, false
	}
	return m.actions(), true
}

// Stop has the child stopped for good. With hurry the process is killed, and
// so is one whose graceful stop is under way.
func (m *Machine) Stop(hurry bool) []Action {
	switch m.state {
	case Idle, Backoff, Held:
		m.transition(Stopped, "")
	case Starting, Ready, Unready:
		m.goal = stay
		if hurry {
			m.forced = true
			m.kill("stopped in a hurry")
		} else {
			m.terminate("stopped")
		}
	case Stopping:
		m.goal = stay
		if hurry {
			m.forced = true
			m.kill("stopped in a hurry")
		}
	case Killing:
		m.goal = stay
	}
	return m.actions()
}

func (m *Machine) launch(now time.Time, why string) {
	m.lives++
	m.started, m.life, m.goal, m.stage, m.rejected = now, newVitals(now), again, "", false
	m.transition(Starting, why)
	m.emit(Launch{})
}

func (m *Machine) terminate(why string) {
	m.why = why
	if m.goal == stay {
		why = "" // nothing to explain
	}
	m.transition(Stopping, why)
	m.emit(Signal{Signal: m.cfg.StopSignal}, Arm{After: m.cfg.StopBudget})
}

func (m *Machine) kill(why string) {
	m.why = why
	m.transition(Killing, why)
	m.emit(Signal{Signal: syscall.SIGKILL})
}

// forgive forgets earlier crashes if the process was ready for long enough.
func (m *Machine) forgive(now time.Time) {
	if m.state == Ready && now.Sub(m.readySince) >= healthyFor {
		m.crashes = 0
	}
}

// transition is the only place that changes the state. The timer belongs to
// the state that is left.
func (m *Machine) transition(to State, why string) {
	m.emit(Disarm{}, Changed{From: m.state, To: to, Why: why})
	m.state = to
}

func (m *Machine) emit(a ...Action) { m.out = append(m.out, a...) }

func (m *Machine) actions() []Action {
	out := slices.Clip(m.out)
	m.out = nil
	return out
}
