package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

func crash(a *actor) { a.end(lifecycle.Exit{Code: 1}) }

// never is the script of a process that does not get ready.
func never(*actor) {}

func TestTiersStartTogetherOnceEtcdIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script[Etcd] = never
		s.run()
		s.wantHappened("etcd starts")
		s.actor(Etcd).sink.Reached(tier.Ready)
		synctest.Wait()
		s.wantHappened("extensions starts", "core starts", "aggregator starts")
		s.wantPhase(lifecycle.PhaseReady)
		s.stop()
		s.end()
	})
}

func TestStopsFromTheHeadToEtcdOneAfterTheExitOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		for _, name := range []string{"aggregator", "core", "extensions", Etcd} {
			a := s.actor(name)
			a.onTerm = func() { time.AfterFunc(5*time.Second, func() { a.end(lifecycle.Exit{}) }) }
		}
		s.stop()
		s.wantPhase(lifecycle.PhaseStopping)
		s.wantSaid("stopping: aggregator within 1m20s, then core within 1m20s, then extensions within 1m20s, then etcd within 20s")
		if err := s.end(); err != nil {
			t.Error(err)
		}
		s.wantHappened(
			"aggregator SIGTERM", "aggregator exits", "core SIGTERM", "core exits",
			"extensions SIGTERM", "extensions exits", "etcd SIGTERM", "etcd exits")
	})
}

func TestTheHeadIsWithdrawnBeforeItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.chain.beforeStop = func(context.Context) {
			time.Sleep(time.Second)
			s.note("withdrawn")
		}
		s.run()
		s.happened = nil
		s.stop()
		s.wantHappened()
		s.pass(time.Second)
		if got := s.happened; len(got) < 2 || got[0] != "withdrawn" || got[1] != "aggregator SIGTERM" {
			t.Errorf("%q", got)
		}
		s.end()
	})
}

func TestASecondSignalDoesNotWaitForTheWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.chain.beforeStop = func(ctx context.Context) { <-ctx.Done() }
		s.run()
		s.stop()
		s.wantState("aggregator", lifecycle.Ready)
		s.stop()
		s.end()
		s.wantState("aggregator", lifecycle.Stopped)
	})
}

func TestStopInEveryStage(t *testing.T) {
	for _, reached := range append([]tier.Stage{""}, tier.Stages...) {
		t.Run("core at "+string(reached), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				s.script["core"] = func(a *actor) {
					if reached != "" {
						a.sink.Reached(reached)
					}
				}
				s.run()
				s.stop()
				if err := s.end(); err != nil {
					t.Error(err)
				}
				s.wantState("core", lifecycle.Stopped)
			})
		})
	}
}

func TestStopBeforeEtcdIsReadyStartsNoTier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script[Etcd] = never
		s.run()
		s.stop()
		s.end()
		s.wantHappened("etcd starts", "etcd SIGTERM", "etcd exits")
	})
}

func TestKillsAfterTheBudgetAndWaitsForTheExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		s.actor("aggregator").onTerm = func() {}
		s.actor("aggregator").killTakes = 3 * time.Second
		s.stop()
		s.pass(79 * time.Second)
		s.wantHappened("aggregator SIGTERM")
		s.pass(time.Second)
		s.wantHappened("aggregator SIGKILL")
		s.pass(2 * time.Second)
		s.wantHappened()
		forced := (*ForcedError)(nil)
		if err := s.end(); !errors.As(err, &forced) || !slices.Equal(forced.Children, []string{"aggregator"}) {
			t.Errorf("%v", err)
		}
		s.wantState("core", lifecycle.Stopped)
	})
}

func TestASecondSignalKillsTheTiersAndStillStopsEtcd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		for _, name := range []string{"aggregator", "core", "extensions"} {
			s.actor(name).onTerm = func() {}
			s.actor(name).killTakes = time.Second
		}
		s.stop()
		s.wantHappened("aggregator SIGTERM")
		s.stop()
		s.wantHappened("aggregator SIGKILL", "core SIGKILL", "extensions SIGKILL")
		s.pass(time.Second)
		if got := s.happened[len(s.happened)-2]; got != "etcd SIGTERM" {
			t.Errorf("%q", s.happened)
		}
		s.end()
	})
}

func TestAThirdSignalKillsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		s.actor("aggregator").onTerm = func() {}
		s.actor("aggregator").killTakes = time.Hour
		s.stop()
		s.stop()
		s.stop()
		s.mu.Lock()
		got := strings.Join(s.happened, ", ")
		s.mu.Unlock()
		if !strings.Contains(got, "etcd SIGKILL") {
			t.Error(got)
		}
		s.end()
	})
}

func TestACrashIsRestartedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		s.actor("extensions").end(lifecycle.Exit{Code: 2, Reason: "out of luck"})
		synctest.Wait()
		s.wantPhase(lifecycle.PhaseDegraded)
		s.wantState("extensions", lifecycle.Backoff)
		s.wantSaid("extensions-0: exit code 2: out of luck; starting again in 500ms")
		s.pass(500 * time.Millisecond)
		s.wantHappened("extensions exits", "extensions starts")
		s.wantPhase(lifecycle.PhaseReady)
		s.stop()
		s.end()
	})
}

func TestACrashLoopBacksOffToHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script["extensions"] = crash
		s.run()
		s.pass(10 * time.Minute)
		// 0.5+1+2+4+8+16 s, then every 30 s.
		if got := len(s.actors["extensions"]); got < 24 || got > 26 {
			t.Errorf("%d starts in 10 minutes", got)
		}
		s.wantState("core", lifecycle.Ready)
		s.wantState("aggregator", lifecycle.Ready)
		s.wantPhase(lifecycle.PhaseStarting)
		s.stop()
		s.end()
	})
}

func TestAChildThatCannotBeLaunchedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		core := s.chain.member("core-0")
		launch := core.launch
		var installed atomic.Bool
		core.launch = func() (running, error) {
			if !installed.Load() {
				return nil, errNoProgram
			}
			return launch()
		}
		s.run()
		s.wantState("core", lifecycle.Backoff)
		installed.Store(true)
		s.pass(time.Second)
		s.wantState("core", lifecycle.Ready)
		s.stop()
		s.end()
	})
}

func TestAWrongConfigurationEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script["core"] = func(a *actor) {
			a.end(lifecycle.Exit{Code: process.ExitConfiguration, Reason: "core: no such feature gate"})
		}
		s.run()
		err := s.end()
		if err == nil || err.Error() != "cannot start core: no such feature gate" {
			t.Errorf("%v", err)
		}
		for _, name := range []string{"aggregator", "extensions", Etcd} {
			s.wantState(name, lifecycle.Stopped)
		}
	})
}

func TestAnEtcdThatFailsAtFirstEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script[Etcd] = func(a *actor) { a.end(lifecycle.Exit{Code: 1, Reason: "cannot start etcd: no space"}) }
		s.run()
		if err := s.end(); err == nil || err.Error() != "cannot start etcd: no space" {
			t.Errorf("%v", err)
		}
		s.wantHappened("etcd starts", "etcd exits")
	})
}

func TestDifferentSettingsEndTheRunAndAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.script["extensions"] = described(map[string]string{"feature-gates": "a", "etcd-prefix": "c"})
		s.script["core"] = described(map[string]string{"feature-gates": "a", "etcd-prefix": "c"})
		s.run()
		s.wantState("core", lifecycle.Ready)
		s.stop()
		s.end()

		s = newStage(t)
		s.script["extensions"] = described(map[string]string{"feature-gates": "a", "etcd-prefix": "c"})
		s.script["core"] = described(map[string]string{"feature-gates": "b", "etcd-prefix": "c"})
		s.script["aggregator"] = never
		s.run()
		failed := (*FailedError)(nil)
		err := s.end()
		if !errors.As(err, &failed) || !failed.Exit.Hopeless || !strings.Contains(err.Error(), "--feature-gates") {
			t.Errorf("%v", err)
		}
	})
}

func TestAHangIsKilledAndItsSuccessorWaitsForTheExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		a := s.actor("core")
		a.killTakes = 10 * time.Second
		a.sink.Alive()
		for range 3 {
			s.pass(5 * time.Second)
			a.sink.Silent()
		}
		synctest.Wait()
		s.wantHappened("core SIGKILL")
		s.pass(9 * time.Second)
		s.wantHappened()
		s.pass(1500 * time.Millisecond)
		s.wantHappened("core exits", "core starts")
		s.wantSaid("core-0: killing it (no health for 15s)")
		s.stop()
		s.end()
	})
}

func TestReadinessLostAndRegained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.actor("core").sink.ReadinessLost()
		synctest.Wait()
		s.wantPhase(lifecycle.PhaseDegraded)
		s.wantSaid("core-0: no longer ready")
		s.actor("core").sink.Reached(tier.Ready)
		synctest.Wait()
		s.wantPhase(lifecycle.PhaseReady)
		s.wantSaid("core-0: ready again")
		s.stop()
		s.end()
	})
}

func TestNewsOfAProcessThatIsGoneIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.run()
		old := s.actor("core").sink
		s.script["core"] = never
		crash(s.actor("core"))
		s.pass(time.Second)
		old.Reached(tier.Ready)
		synctest.Wait()
		s.wantState("core", lifecycle.Starting)
		s.stop()
		s.end()
	})
}

func TestReadyIsAnnouncedOnceAndByTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		times := 0
		s.chain.onReady = func() { times++ }
		s.script["extensions"] = never
		s.run()
		if times != 1 {
			t.Errorf("announced %d times while extensions is not ready", times)
		}
		crash(s.actor("aggregator"))
		s.pass(time.Second)
		s.stop()
		s.end()
		if times != 1 {
			t.Errorf("announced %d times in all", times)
		}
	})
}

func TestRestartReturnsWhenTheNewProcessIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.script["core"] = func(a *actor) {
			time.Sleep(4 * time.Second)
			a.sink.Reached(tier.Ready)
		}
		s.happened = nil
		began := time.Now()
		if err := s.chain.Restart(t.Context(), "core-0"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("took %s", took)
		}
		s.wantHappened("core SIGTERM", "core exits", "core starts")
		s.stop()
		s.end()
	})
}

func TestRestartSaysWhyItFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.script["core"] = func(a *actor) { a.end(lifecycle.Exit{Code: 1, Reason: "out of luck"}) }
		err := s.chain.Restart(t.Context(), "core-0")
		if err == nil || !strings.Contains(err.Error(), "out of luck") {
			t.Errorf("%v", err)
		}
		if err := s.chain.Restart(t.Context(), "scheduler"); err == nil {
			t.Error("restarted what is no child")
		}
		s.script["core"] = never
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.chain.Restart(ctx, "core-0"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		s.stop()
		s.end()
		if err := s.chain.Restart(t.Context(), "core-0"); err == nil {
			t.Error("restarted after the end")
		}
	})
}

func TestAStopEndsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		a := s.actor("aggregator")
		a.onTerm = func() { time.AfterFunc(time.Minute, func() { a.end(lifecycle.Exit{}) }) }
		result := make(chan error, 1)
		go func() { result <- s.chain.Restart(t.Context(), "aggregator-0") }()
		s.pass(time.Second)
		s.happened = nil
		s.stop()
		if err := <-result; err == nil {
			t.Error("restarted although everything stops")
		}
		s.end()
		for _, happened := range s.happened {
			if happened == "aggregator starts" {
				t.Error(happened)
			}
		}
	})
}

// TestEtcdIsRestartedWhileTheTiersDrain: they cannot finish what is in flight
// without their storage.
func TestEtcdIsRestartedWhileTheTiersDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		a := s.actor("aggregator")
		a.onTerm = func() { time.AfterFunc(time.Minute, func() { a.end(lifecycle.Exit{}) }) }
		s.stop()
		crash(s.actor(Etcd))
		s.pass(time.Second)
		s.wantState(Etcd, lifecycle.Ready)
		s.end()
		s.wantState(Etcd, lifecycle.Stopped)
	})
}

func TestAProcessLeavesTheCPUToOthersDuringItsBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.happened = nil
		before := s.actor("extensions")
		before.sink.Burst(true)
		before.sink.Burst(false)
		synctest.Wait()
		s.wantHappened("extensions yields: true", "extensions yields: false")
		s.wantSaid("extensions-0: many CRDs change: it leaves the CPU")
		s.wantSaid("until it is started again: " + errNoProgram.Error())
		crash(before)
		synctest.Wait()
		before.sink.Burst(true) // news of a process that is gone
		s.pass(time.Second)
		s.wantHappened("extensions exits", "extensions starts")
		s.stop()
		s.end()
	})
}
