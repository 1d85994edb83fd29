package supervisor

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

func (s *stage) wantHead(away string) {
	s.t.Helper()
	err := s.chain.available("aggregator-0")
	if (err == nil) != (away == "") || err != nil && !strings.Contains(err.Error(), away) {
		s.t.Errorf("the head: %v, want %q", err, away)
	}
}

// The front opens when the head is ready for the first time; afterwards prepared
// is enough, as on every hop.
func TestTheHeadIsAvailableToTheFrontFromItsFirstReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script["aggregator"] = func(a *actor) { a.sink.Reached(tier.Prepared) }
		s.wantHead("not been ready yet")
		s.run()
		s.wantHead("not been ready yet")
		s.actor("aggregator").sink.Reached(tier.Ready)
		synctest.Wait()
		s.wantHead("")
		s.actor("aggregator").sink.ReadinessLost()
		synctest.Wait()
		s.wantHead("")
		s.script["aggregator"] = never
		crash(s.actor("aggregator"))
		synctest.Wait()
		s.wantHead("away")
		s.pass(time.Second)
		s.wantHead("away")
		s.actor("aggregator").sink.Reached(tier.Prepared)
		synctest.Wait()
		s.wantHead("")
		s.stop()
		s.end()
		s.wantHead("away")
	})
}

// Whoever hears that the head is ready may use the insecure port.
func TestTheHeadIsAvailableBeforeItIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.chain.onReady = func() { s.wantHead("") }
		s.run()
		s.stop()
		s.end()
	})
}

func TestEveryLostHeadIsToldAfterItIsKnownToBeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		lost := 0
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			s.chain.followHead(func(string) {
				lost++
				s.wantHead("away")
			})
		}()
		synctest.Wait()
		for range 3 {
			crash(s.actor("aggregator"))
			synctest.Wait()
			s.pass(time.Minute)
		}
		crash(s.actor("core"))
		s.pass(time.Minute)
		if lost != 3 {
			t.Errorf("%d losses are told, want 3", lost)
		}
		s.stop()
		s.end()
		<-followed
		if lost != 4 {
			t.Errorf("%d losses are told in all, want 4", lost)
		}
	})
}

func TestTheFrontEndsOnceAndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.chain.onStop = func() { s.note("front ends") }
		s.chain.beforeStop = func(context.Context) { s.note("withdrawn") }
		s.run()
		s.happened = nil
		s.actor("aggregator").onTerm = func() {}
		s.stop()
		s.wantHappened("front ends", "withdrawn", "aggregator SIGTERM")
		s.stop()
		s.end()
		for _, happened := range s.happened {
			if happened == "front ends" {
				t.Error("it is ended twice")
			}
		}
	})
}

func TestAFailedStartEndsTheFrontToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ended := false
		s.chain.onStop = func() { ended = true }
		s.script[Etcd] = crash
		s.run()
		if err := s.end(); err == nil || !ended {
			t.Errorf("%v, ended %v", err, ended)
		}
	})
}

func TestWithoutAFrontThereIsNoURL(t *testing.T) {
	var f *front
	ready := Snapshot{Phase: lifecycle.PhaseReady, Head: "aggregator", Names: []string{"aggregator-0"},
		Children: map[string]Child{"aggregator-0": {Tier: "aggregator", View: lifecycle.View{EverReady: true}}}}
	if url := f.shownURL(ready); url != "" {
		t.Error(url)
	}
	f.close()
}
