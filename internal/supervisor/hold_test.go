package supervisor

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

func TestWhatIsHeldStaysStoppedUntilItIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		if err := s.chain.Hold(t.Context(), []string{"extensions-0"}); err != nil {
			t.Error(err)
		}
		s.wantHappened("extensions SIGTERM", "extensions exits")
		s.pass(time.Hour)
		s.wantHappened()
		s.wantState("extensions", lifecycle.Held)
		s.wantState("core", lifecycle.Ready)
		s.wantPhase(lifecycle.PhaseDegraded)
		s.wantSaid("extensions-0: stopped by operator, until supervisor start extensions")
		now, _ := s.chain.Snapshot()
		if lines := now.heldLines("extensions"); len(lines) != 1 || !strings.HasPrefix(lines[0], "extensions is stopped by operator: supervisor start extensions") {
			t.Errorf("%q", lines)
		}
		lives, err := s.chain.Resume([]string{"extensions-0"})
		if err != nil || lives["extensions-0"] != 1 {
			t.Errorf("%v, %v", lives, err)
		}
		synctest.Wait()
		s.wantHappened("extensions starts")
		s.wantPhase(lifecycle.PhaseReady)
		if lives, err := s.chain.Resume([]string{"extensions-0"}); err != nil || len(lives) != 0 {
			t.Errorf("one that runs is resumed: %v, %v", lives, err)
		}
		s.stop()
		s.end()
	})
}

// A supervisor of tiers that are all held is no supervisor that has nothing left to do.
func TestHoldingAllTiersEndsNothingAndAStopEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script["extensions"] = crash // it is held while it waits to be started again
		s.run()
		all := []string{"aggregator-0", "core-0", "extensions-0", Etcd}
		if err := s.chain.Hold(t.Context(), all); err != nil {
			t.Error(err)
		}
		starts := len(s.actors["extensions"])
		s.pass(time.Hour)
		for _, name := range append([]string{Etcd}, names(tier.Order)...) {
			s.wantState(name, lifecycle.Held)
		}
		if len(s.actors["extensions"]) != starts {
			t.Errorf("%d starts of what is held", len(s.actors["extensions"])-starts)
		}
		s.stop()
		if err := s.end(); err != nil {
			t.Error(err)
		}
		s.wantState("core", lifecycle.Stopped)
		if err := s.chain.Hold(t.Context(), all); err == nil {
			t.Error("held after the end")
		}
	})
}

func names(tiers []tier.Name) (all []string) {
	for _, name := range tiers {
		all = append(all, string(name))
	}
	return all
}

func TestAPortRefusesAndAcceptsAgain(t *testing.T) {
	s, err := listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.file.Close()
	dial := func() error {
		c, err := net.Dial("tcp", s.address.String())
		if err == nil {
			c.Close()
		}
		return err
	}
	for range 2 {
		for range 2 {
			if err := s.refuse(); err != nil {
				t.Error(err)
			}
		}
		if err := dial(); err == nil {
			t.Error("it accepts what nobody answers")
		}
		if err := s.accept(); err != nil {
			t.Error(err)
		}
		if err := dial(); err != nil {
			t.Error(err)
		}
	}
}
