package faults

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// Fault is one thing that breaks.
type Fault struct {
	// Name is the row of the table.
	Name string
	// Budget is how long after its end the last request may fail, on a machine with nothing
	// else to do.
	Budget time.Duration
	// ReadsSucceed says that no request that changes nothing may fail.
	ReadsSucceed bool
	// Break breaks it and, if it does not mend by itself, mends it. The recovery is
	// counted from its return, or from the call of strike.
	Break func(t *testing.T)
}

// Play plays a fault under load until a round of it says something, and fails the test
// by its verdict. What -only leaves out is not played.
func (s *Scene) Play(t *testing.T, f Fault) {
	t.Helper()
	if !regexp.MustCompile(*only).MatchString(f.Name) {
		return
	}
	for try := 1; ; try++ {
		r := s.play(t, f)
		for _, problem := range r.Problems {
			t.Errorf("%s: %s", f.Name, problem)
		}
		t.Logf("%s: %d requests, %.0f a second before, failed %v, recovered after %v of %v (%v, slowed %.1f times), %d relists %s", f.Name, r.Requests, r.Rate, r.Failed,
			r.Recovery.Round(time.Millisecond), r.Budget.Round(time.Second), f.Budget, r.Slowness, r.Relists, r.Void)
		if r.Void == "" || len(r.Problems) > 0 || t.Failed() {
			return
		}
		if try == tries {
			t.Errorf("%s is void, %d times: %s: this machine has too much else to do", f.Name, try, r.Void)
			return
		}
	}
}

// play is one round: the fault under load, and the verdict.
func (s *Scene) play(t *testing.T, f Fault) *Round {
	t.Helper()
	s.round++
	for _, shelf := range s.shelves {
		shelf.begin(s.round)
	}
	from := s.record.len()
	r := &Round{Server: s.Server, Fault: f.Name}
	l := startLoad(s.clients, s.round)
	r.Rate = s.steady(r, from, steadyBound)
	broken, metronome := s.record.now(), startMetronome()
	s.over = 0
	if f.Break != nil {
		f.Break(t)
	}
	if s.over == 0 {
		s.strike()
	}
	if err := harness.Await(t.Context(), f.Budget+steadyBound, "all is well after "+f.Name, s.healthy); err != nil {
		r.problem("%v", err)
	} else {
		s.steady(r, s.record.len(), f.Budget+steadyBound)
	}
	l.end()
	r.Slowness = metronome.end()
	r.Budget = time.Duration(float64(f.Budget) * min(r.Slowness, maxSlowness))
	s.finish(t, r)
	ops := s.record.since(from)
	r.judgeOps(ops, s.over)
	if f.ReadsSucceed {
		r.judgeReads(ops, broken)
	}
	r.judgeWatches(s.judges, s.record, ops)
	results.add(r)
	return r
}

// steady waits until the clients of each kind had steadyOps requests in a row answered,
// of those that were begun from now on, and returns how many a second they were. Fewer
// than minRate make the round void.
func (s *Scene) steady(r *Round, from int, bound time.Duration) (rate float64) {
	begun := s.record.now()
	// fine requests were answered since the last one failed, at broken.
	fine, broken := 0, begun
	err := harness.Await(s.ctx, bound, "every kind is served", func() error {
		row := map[string]int{}
		fine, broken = 0, begun
		for _, op := range s.record.since(from) {
			switch {
			case op.Call < begun:
			case op.Failure != "":
				row[op.Kind], fine, broken = 0, 0, op.Return
			default:
				row[op.Kind]++
				fine++
			}
		}
		for _, k := range s.kinds {
			if row[k.name] < steadyOps {
				return fmt.Errorf("%d requests in a row succeeded for %v", steadyOps, row)
			}
		}
		return nil
	})
	if err != nil {
		r.problem("%v", err)
		return 0
	}
	rate = float64(fine) / time.Duration(s.record.now()-broken).Seconds()
	if rate < minRate {
		r.Void = fmt.Sprintf("only %.1f requests a second were answered, less than %d", rate, minRate)
	}
	return rate
}

// finish reads every object of the round once more, and waits until the watchers
// have come to its end.
func (s *Scene) finish(t *testing.T, r *Round) {
	t.Helper()
	for i, k := range s.kinds {
		c := s.clients[i*clientsPerKind]
		for _, name := range s.shelves[k.name].all() {
			c.do(s.round, name, Get)
		}
		end := c.do(s.round, fmt.Sprintf("r%d-end", s.round), Create)
		if end.Outcome != Done {
			r.problem("the last write of %s is answered %d: %s", k.name, end.Code, end.Said)
		}
		for _, j := range s.judges[2*i : 2*i+2] {
			err := harness.Await(t.Context(), steadyBound, "the watcher of "+j.watcher.name+" sees the end", func() error {
				if at := j.watcher.at(); at < end.Saw.RV {
					return fmt.Errorf("it is at %d, not at %d", at, end.Saw.RV)
				}
				return nil
			})
			if err != nil {
				r.problem("%v", err)
			}
		}
	}
}
