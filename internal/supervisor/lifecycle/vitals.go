package lifecycle

import (
	"fmt"
	"time"
)

const (
	// silenceBudget is how long a process may give no sign of life.
	silenceBudget = 15 * time.Second
	// firstBreathBudget is how long it may take to give the first: a cold disk
	// and a busy machine are not a hang.
	firstBreathBudget = 60 * time.Second
	// silentChecks is how many checks in a row must have gone unanswered too.
	// After the supervisor itself was stopped for a while (SIGSTOP, a suspended
	// machine) the clock alone would condemn every child.
	silentChecks = 3
)

// vitals are the signs of life of one process.
type vitals struct {
	last     time.Time
	breathed bool
	missed   int
}

func newVitals(now time.Time) vitals { return vitals{last: now} }

// Alive says that the process answered a health check.
func (m *Machine) Alive(now time.Time) []Action {
	m.life = vitals{last: now, breathed: true}
	return m.actions()
}

// Silent says that the process did not answer a health check in time. One that
// is stopping has its budget, and is not judged by this.
func (m *Machine) Silent(now time.Time) []Action {
	m.life.missed++
	budget := firstBreathBudget
	if m.life.breathed {
		budget = silenceBudget
	}
	silence := now.Sub(m.life.last)
	judged := m.state == Starting || m.state == Ready || m.state == Unready
	if judged && m.life.missed >= silentChecks && silence >= budget {
		m.forgive(now)
		m.goal = again
		m.kill(fmt.Sprintf("no health for %s", silence.Round(time.Second)))
	}
	return m.actions()
}
