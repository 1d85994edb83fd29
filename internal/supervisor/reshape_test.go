package supervisor

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// second adds another replica of core, whose actors are called core-1.
func (s *stage) second(script func(*actor)) {
	s.t.Helper()
	m := s.member("core", "core-1", "core-1")
	s.script["core-1"] = script
	if err := s.chain.Join(m); err != nil {
		s.t.Error(err)
	}
	synctest.Wait()
}

func TestAReplicaJoinsAndAnotherRetiresWhileAllIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		s.second(never)
		s.wantHappened("core-1 starts")
		s.wantPhase(lifecycle.PhaseReady) // nobody misses what was not there before
		s.actor("core-1").sink.Reached(tier.Ready)
		if err := s.chain.AwaitReady(t.Context(), "core-1"); err != nil {
			t.Error(err)
		}
		s.actor("core").onTerm = func() { time.AfterFunc(time.Second, func() { s.actor("core").end(lifecycle.Exit{}) }) }
		began := time.Now()
		if err := s.chain.Retire(t.Context(), "core-0"); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.wantHappened("core SIGTERM", "core exits")
		s.wantPhase(lifecycle.PhaseReady)
		now, _ := s.chain.Snapshot()
		if of := now.Of("core"); len(of) != 1 || of[0].State != lifecycle.Ready {
			t.Errorf("%+v", of)
		}
		s.script["core-1"] = func(a *actor) { a.sink.Reached(tier.Ready) }
		crash(s.actor("core-1"))
		synctest.Wait()
		s.wantPhase(lifecycle.PhaseDegraded) // now it counts
		s.pass(time.Minute)
		s.wantPhase(lifecycle.PhaseReady)
		s.stop()
		s.end()
	})
}

func TestANewReplicaThatFailsTakesNothingAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.second(func(a *actor) { a.end(lifecycle.Exit{Code: 64, Reason: "a bad flag"}) })
		if err := s.chain.AwaitReady(t.Context(), "core-1"); err == nil || !strings.Contains(err.Error(), "a bad flag") {
			t.Error(err)
		}
		if err := s.chain.Retire(t.Context(), "core-1"); err != nil {
			t.Error(err)
		}
		s.pass(time.Minute)
		s.wantPhase(lifecycle.PhaseReady)
		s.stop()
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestReplicasOfATierStopTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.second(func(a *actor) { a.sink.Reached(tier.Ready) })
		for _, name := range []string{"core", "core-1"} {
			a := s.actor(name)
			a.onTerm = func() { time.AfterFunc(5*time.Second, func() { a.end(lifecycle.Exit{}) }) }
		}
		s.happened = nil
		s.stop()
		s.pass(time.Second)
		s.wantHappened("aggregator SIGTERM", "aggregator exits", "core-1 SIGTERM", "core SIGTERM")
		s.wantSaid("stopping: aggregator within 1m20s, then core within 1m20s, then extensions")
		s.end()
	})
}

func TestNothingJoinsWhatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.actor("aggregator").onTerm = func() {}
		s.stop()
		if err := s.chain.Join(s.member("core", "core-1", "core-1")); !errors.Is(err, errStopping) {
			t.Error(err)
		}
		s.stop()
		s.end()
		if err := s.chain.Join(s.member("core", "core-1", "core-1")); !errors.Is(err, errStopping) {
			t.Error(err)
		}
	})
}

func TestATierIsHaltedAndGoesOnAsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		s.actor("core").onTerm = func() { time.AfterFunc(time.Second, func() { s.actor("core").end(lifecycle.Exit{}) }) }
		began := time.Now()
		if err := s.chain.Halt(t.Context(), "core"); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.pass(time.Hour) // nobody starts it
		s.wantHappened("core SIGTERM", "core exits")
		s.wantPhase(lifecycle.PhaseDegraded)
		s.happened = nil
		if err := s.chain.Replace([]*member{s.member("core", "other", "core-0")}); err != nil {
			t.Error(err)
		}
		if err := s.chain.AwaitReady(t.Context(), "core-0"); err != nil {
			t.Error(err)
		}
		s.wantHappened("other starts")
		s.wantPhase(lifecycle.PhaseReady)
		s.stop()
		if err := s.chain.Halt(t.Context(), "core"); !errors.Is(err, errStopping) {
			t.Errorf("halted in the middle of a stop: %v", err)
		}
		s.end()
	})
}
