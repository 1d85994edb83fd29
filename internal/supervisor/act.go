package supervisor

import (
	"context"
	"fmt"
	"time"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/supervisor/events"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// do carries out what a machine asked for.
func (c *chain) do(m *member, actions []lifecycle.Action) {
	for _, action := range actions {
		switch a := action.(type) {
		case lifecycle.Launch:
			c.start(m)
		case lifecycle.Signal:
			if m.process != nil {
				m.process.Signal(a.Signal)
			}
		case lifecycle.Arm:
			c.arm(m, a.After)
		case lifecycle.Disarm:
			m.disarm()
		case lifecycle.Changed:
			c.tell(m, a)
		case lifecycle.Stage:
			c.say("%s: %s (%s)", m.name(), a.Name, a.After.Round(time.Millisecond))
			c.record(events.Event{Process: m.name(), PID: m.machine.View().PID, Kind: events.Stage, To: a.Name, Seconds: a.After.Seconds()})
		}
	}
}

// start makes the next process of m and has it watched from its first moment:
// its listeners are open already.
func (c *chain) start(m *member) {
	m.life++
	m.description, m.full = nil, ""
	p, err := m.launch()
	if err != nil {
		exit := lifecycle.Exit{Code: -1, Time: time.Now(), Reason: err.Error()}
		c.do(m, m.machine.Exited(time.Now(), exit))
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.process, m.watch = p, cancel
	s := &sink{chain: c, member: m, life: m.life}
	c.background.Go(func() { m.observe(ctx, s) })
	c.background.Go(func() {
		exit := p.Wait()
		s.post(func() { c.exited(m, exit) })
	})
	c.do(m, m.machine.Spawned(p.PID()))
}

func (c *chain) exited(m *member, exit lifecycle.Exit) {
	m.watch()
	m.process, m.description = nil, nil
	c.do(m, m.machine.Exited(time.Now(), exit))
}

func (c *chain) arm(m *member, after time.Duration) {
	m.disarm()
	alarm := m.alarm
	m.timer = time.AfterFunc(after, func() {
		c.post(func() {
			if m.alarm == alarm {
				c.do(m, m.machine.Elapsed(time.Now()))
			}
		})
	})
}

// tell prints a change of state. Those that a stage tells are left to it.
func (c *chain) tell(m *member, a lifecycle.Changed) {
	c.record(events.Event{
		Process: m.name(), PID: m.machine.View().PID, Kind: events.State, From: string(a.From), To: string(a.To), Reason: a.Why,
	})
	switch a.To {
	case lifecycle.Ready:
		if a.From == lifecycle.Unready {
			c.say("%s: ready again", m.name())
		}
	case lifecycle.Unready:
		c.say("%s: no longer ready", m.name())
	case lifecycle.Starting:
		c.say("%s: starting%s", m.name(), because(a.Why))
	case lifecycle.Stopping:
		c.say("%s: stopping within %s%s", m.name(), m.machine.StopBudget(), because(a.Why))
	case lifecycle.Killing:
		c.say("%s: killing it%s", m.name(), because(a.Why))
	case lifecycle.Backoff:
		c.say("%s: %s", m.name(), a.Why)
	case lifecycle.Stopped:
		c.say("%s: stopped", m.name())
	case lifecycle.Held:
		c.say("%s: stopped by operator, until supervisor start %s", m.name(), m.row.name)
	case lifecycle.Failed:
		c.say("%s: failed%s", m.name(), because(a.Why))
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", why)
}

// sink passes an observer's news to the chain, as long as the observed process
// is the current one.
type sink struct {
	chain  *chain
	member *member
	life   int
}

func (s *sink) post(f func()) {
	s.chain.post(func() {
		if s.member.life == s.life {
			f()
		}
	})
}

func (s *sink) event(f func(*lifecycle.Machine) []lifecycle.Action) {
	s.post(func() { s.chain.do(s.member, f(s.member.machine)) })
}

func (s *sink) Reached(stage tier.Stage) {
	s.event(func(m *lifecycle.Machine) []lifecycle.Action { return m.Reached(time.Now(), stage) })
}

func (s *sink) ReadinessLost() {
	s.event(func(m *lifecycle.Machine) []lifecycle.Action { return m.ReadinessLost(time.Now()) })
}

func (s *sink) Rejected(reason string) {
	s.event(func(m *lifecycle.Machine) []lifecycle.Action { return m.Rejected(reason) })
}

func (s *sink) Full(size string) {
	s.post(func() {
		s.member.full = size
		if size != "" {
			s.chain.say("%s: %s", s.member.name(), fullLine(size))
		}
	})
}

func (s *sink) Burst(on bool) {
	s.post(func() {
		if p, ok := s.member.process.(interface{ Yield(bool) error }); ok {
			s.chain.say("%s: %s", s.member.name(), burstLine(on, p.Yield(on)))
		}
	})
}

func burstLine(on bool, err error) string {
	switch {
	case on && err != nil:
		return fmt.Sprintf("many CRDs change, and it cannot leave the CPU to the other tiers: %v", err)
	case err != nil:
		return fmt.Sprintf("no more CRDs change, and it leaves the CPU to the other tiers until it is started again: %v", err)
	case on:
		return "many CRDs change: it leaves the CPU to the other tiers"
	}
	return "no more CRDs change: it has as much of the CPU as the other tiers"
}

func (s *sink) Alive() {
	s.event(func(m *lifecycle.Machine) []lifecycle.Action { return m.Alive(time.Now()) })
}

func (s *sink) Silent() {
	s.event(func(m *lifecycle.Machine) []lifecycle.Action { return m.Silent(time.Now()) })
}

func (s *sink) Described(d *handshakev1.DescribeResponse) {
	s.post(func() {
		s.member.description = d
		if err := s.chain.disagreement(s.member); err != nil {
			s.chain.do(s.member, s.member.machine.Rejected(err.Error()))
		}
	})
}
