package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/internal/tier"
)

const hopeless = 64

// trial drives a machine through events written as words, by a clock that only
// the word "+DURATION" moves.
type trial struct {
	t   *testing.T
	m   *Machine
	now time.Time
	did []string // the actions of the last event
}

func newTrial(t *testing.T, change func(*Config)) *trial {
	cfg := Config{
		StopBudget: 80 * time.Second, Stages: tier.Stages, StopSignal: syscall.SIGTERM,
		HopelessCode: hopeless, Chance: func() float64 { return 0 },
	}
	if change != nil {
		change(&cfg)
	}
	return &trial{t: t, m: New(cfg), now: time.Unix(1e9, 0)}
}

func (r *trial) events(words string) *trial {
	r.t.Helper()
	for _, word := range strings.Fields(words) {
		r.event(word)
	}
	return r
}

func (r *trial) event(word string) {
	r.t.Helper()
	verb, arg, _ := strings.Cut(word, ":")
	var do []Action
	switch {
	case verb == "start":
		do = r.m.Start(r.now)
	case verb == "spawned":
		do = r.m.Spawned(42)
	case verb == "reach":
		do = r.m.Reached(r.now, tier.Stage(arg))
	case verb == "lost":
		do = r.m.ReadinessLost(r.now)
	case verb == "alive":
		do = r.m.Alive(r.now)
	case verb == "silent":
		do = r.m.Silent(r.now)
	case verb == "exit":
		do = r.m.Exited(r.now, r.exit(arg))
	case verb == "elapsed":
		do = r.m.Elapsed(r.now)
	case verb == "rejected":
		do = r.m.Rejected("other settings")
	case verb == "restart":
		do, _ = r.m.Restart(r.now)
	case verb == "hold":
		do, _ = r.m.Hold()
	case verb == "resume":
		do, _ = r.m.Resume(r.now)
	case verb == "stop":
		do = r.m.Stop(false)
	case verb == "hurry":
		do = r.m.Stop(true)
	case strings.HasPrefix(verb, "+"):
		d, err := time.ParseDuration(verb[1:])
		if err != nil {
			r.t.Fatal(err)
		}
		r.now = r.now.Add(d)
		return
	default:
		r.t.Fatalf("unknown event %q", word)
	}
	r.did = nil
	for _, a := range do {
		r.did = append(r.did, describe(a))
	}
}

func (r *trial) exit(arg string) Exit {
	e := Exit{Time: r.now}
	if arg == "kill" {
		e.Code, e.Signal = -1, syscall.SIGKILL
		return e
	}
	if _, err := fmt.Sscan(arg, &e.Code); err != nil {
		r.t.Fatal(err)
	}
	return e
}

func describe(a Action) string {
	switch a := a.(type) {
	case Launch:
		return "launch"
	case Signal:
		return "signal " + signalName(a.Signal)
	case Arm:
		return "arm " + a.After.String()
	case Disarm:
		return "disarm"
	case Changed:
		return "to " + string(a.To)
	case Stage:
		return "stage " + a.Name
	}
	return fmt.Sprintf("%T", a)
}

func (r *trial) wantState(want State) {
	r.t.Helper()
	if got := r.m.View().State; got != want {
		r.t.Errorf("state %s, want %s", got, want)
	}
}

func (r *trial) wantDone(want ...string) {
	r.t.Helper()
	if !slices.Equal(r.did, want) {
		r.t.Errorf("did %q, want %q", r.did, want)
	}
}

// up is the way to Ready.
const up = "start spawned alive reach:configured reach:constructed reach:prepared reach:ready "

func TestEveryTransition(t *testing.T) {
	for _, c := range []struct {
		name   string
		before string // events
		event  string
		state  State
		did    []string
	}{
		{"start", "", "start", Starting, []string{"disarm", "to starting", "launch"}},
		{"start twice", "start", "start", Starting, nil},
		{"start after the end", "stop", "start", Stopped, nil},
		{"first stage", "start spawned", "reach:configured", Starting, []string{"stage configured"}},
		{"stages out of order are told in order", "start spawned", "reach:prepared", Starting,
			[]string{"stage configured", "stage constructed", "stage prepared"}},
		{"a stage twice", "start spawned reach:prepared", "reach:configured", Starting, nil},
		{"ready", "start spawned reach:prepared", "reach:ready", Ready, []string{"stage ready", "disarm", "to ready"}},
		{"draining is no way to ready", "start spawned reach:prepared", "reach:draining", Starting, []string{"stage draining"}},
		{"readiness lost", up, "lost", Unready, []string{"disarm", "to unready"}},
		{"readiness lost before it was had", "start spawned", "lost", Starting, nil},
		{"ready again", up + "lost", "reach:ready", Ready, []string{"disarm", "to ready"}},

		{"crash while starting", "start spawned", "exit:1", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},
		{"crash when ready", up, "exit:kill", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},
		{"crash when unready", up + "lost", "exit:2", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},
		{"an exit with 0 that nobody asked for", up, "exit:0", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},
		{"cannot be launched", "start", "exit:-1", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},
		{"backoff elapsed", "start spawned exit:1", "elapsed", Starting, []string{"disarm", "to starting", "launch"}},
		{"wrong configuration at first", "start spawned", "exit:64", Failed, []string{"disarm", "to failed"}},
		{"wrong configuration later", up, "exit:64", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},

		{"stop before the start", "", "stop", Stopped, []string{"disarm", "to stopped"}},
		{"stop while starting", "start spawned", "stop", Stopping, []string{"disarm", "to stopping", "signal SIGTERM", "arm 1m20s"}},
		{"stop when ready", up, "stop", Stopping, []string{"disarm", "to stopping", "signal SIGTERM", "arm 1m20s"}},
		{"stop when unready", up + "lost", "stop", Stopping, []string{"disarm", "to stopping", "signal SIGTERM", "arm 1m20s"}},
		{"stop in backoff", "start spawned exit:1", "stop", Stopped, []string{"disarm", "to stopped"}},
		{"stop twice", up + "stop", "stop", Stopping, nil},
		{"stopped", up + "stop", "exit:0", Stopped, []string{"disarm", "to stopped"}},
		{"crash while stopping", up + "stop", "exit:2", Stopped, []string{"disarm", "to stopped"}},
		{"budget spent", up + "stop", "elapsed", Killing, []string{"disarm", "to killing", "signal SIGKILL"}},
		{"killed", up + "stop elapsed", "exit:kill", Stopped, []string{"disarm", "to stopped"}},
		{"hurry while starting", "start spawned", "hurry", Killing, []string{"disarm", "to killing", "signal SIGKILL"}},
		{"hurry when ready", up, "hurry", Killing, []string{"disarm", "to killing", "signal SIGKILL"}},
		{"hurry while stopping", up + "stop", "hurry", Killing, []string{"disarm", "to killing", "signal SIGKILL"}},
		{"hurry while killing", up + "hurry", "hurry", Killing, nil},
		{"stop after the end", up + "stop exit:0", "stop", Stopped, nil},
		{"an exit after the end", "stop", "exit:0", Stopped, nil},

		{"hold before the start", "", "hold", Held, []string{"disarm", "to stopped by operator"}},
		{"hold when ready", up, "hold", Stopping, []string{"disarm", "to stopping", "signal SIGTERM", "arm 1m20s"}},
		{"hold in backoff", "start spawned exit:1", "hold", Held, []string{"disarm", "to stopped by operator"}},
		{"held", up + "hold", "exit:0", Held, []string{"disarm", "to stopped by operator"}},
		{"a crash while being held is not restarted", up + "hold", "exit:2", Held, []string{"disarm", "to stopped by operator"}},
		{"held, had to be killed", up + "hold elapsed", "exit:kill", Held, []string{"disarm", "to stopped by operator"}},
		{"held twice", up + "hold exit:0", "hold", Held, nil},
		{"a timer that comes late", "start spawned exit:1 hold", "elapsed", Held, nil},
		{"hold during a restart", up + "restart hold", "exit:0", Held, []string{"disarm", "to stopped by operator"}},
		{"hold while killed for its silence", up + "+20s silent silent silent hold", "exit:kill", Held, []string{"disarm", "to stopped by operator"}},
		{"hold during a stop", up + "stop hold", "exit:0", Stopped, []string{"disarm", "to stopped"}},
		{"hold after the end", "stop", "hold", Stopped, nil},
		{"start of one that is held is no start", up + "hold exit:0", "start", Held, nil},
		{"restart of one that is held", up + "hold exit:0", "restart", Held, nil},
		{"resumed", up + "hold exit:0", "resume", Starting, []string{"disarm", "to starting", "launch"}},
		{"resumed, up", up + "hold exit:0 resume spawned reach:prepared", "reach:ready", Ready, []string{"stage ready", "disarm", "to ready"}},
		{"resumed before it is gone", up + "hold resume", "exit:0", Starting, []string{"disarm", "to starting", "launch"}},
		{"resume when ready", up, "resume", Ready, nil},
		{"resume in backoff", "start spawned exit:1", "resume", Backoff, nil},
		{"resume after the end", "stop", "resume", Stopped, nil},
		{"crash after it was resumed", up + "exit:1 hold resume spawned", "exit:1", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},
		{"stop of one that is held", up + "hold exit:0", "stop", Stopped, []string{"disarm", "to stopped"}},
		{"stop while being held", up + "hold stop", "exit:0", Stopped, []string{"disarm", "to stopped"}},

		{"restart when ready", up, "restart", Stopping, []string{"disarm", "to stopping", "signal SIGTERM", "arm 1m20s"}},
		{"restart, gone", up + "restart", "exit:0", Starting, []string{"disarm", "to starting", "launch"}},
		{"restart, had to be killed", up + "restart elapsed", "exit:kill", Starting, []string{"disarm", "to starting", "launch"}},
		{"restart in backoff", "start spawned exit:1", "restart", Starting, []string{"disarm", "to starting", "launch"}},
		{"restart while stopping", up + "stop", "restart", Stopping, nil},
		{"restart while stopping, gone", up + "stop restart", "exit:0", Stopped, []string{"disarm", "to stopped"}},
		{"restart while failing, gone", "start spawned rejected restart", "exit:0", Failed, []string{"disarm", "to failed"}},
		{"restart while failing", "start spawned rejected", "restart", Stopping, nil},
		{"stop during a restart", up + "restart stop", "exit:0", Stopped, []string{"disarm", "to stopped"}},
		{"restart after the end", "stop", "restart", Stopped, nil},

		{"rejected at first", "start spawned", "rejected", Stopping, []string{"disarm", "to stopping", "signal SIGTERM", "arm 1m20s"}},
		{"rejected at first, gone", "start spawned rejected", "exit:0", Failed, []string{"disarm", "to failed"}},
		{"rejected later, gone", up + "exit:1 elapsed spawned rejected", "exit:0", Backoff, []string{"disarm", "to backoff", "arm 1s"}},
		{"rejected while stopping", up + "stop", "rejected", Stopping, nil},

		{"a stranger ends well at once", "start spawned", "exit:0", Failed, []string{"disarm", "to failed"}},
		{"told by somebody else to stop before it said anything", "start spawned", "exit:143", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},
		{"one of ours ends well before it is ready", "start spawned alive", "exit:0", Backoff, []string{"disarm", "to backoff", "arm 500ms"}},

		{"a late timer when ready", up, "elapsed", Ready, nil},
		{"a late stage in backoff", "start spawned exit:1", "reach:ready", Backoff, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTrial(t, nil).events(c.before)
			r.event(c.event)
			r.wantState(c.state)
			r.wantDone(c.did...)
		})
	}
}

func TestNeededAtStart(t *testing.T) {
	needed := func(c *Config) { c.NeededAtStart = true }
	newTrial(t, needed).events("start spawned exit:1").wantState(Failed)
	newTrial(t, needed).events("start spawned exit:kill").wantState(Backoff)
	newTrial(t, needed).events("start spawned exit:kill elapsed spawned exit:1").wantState(Failed)
	newTrial(t, needed).events(up + "exit:1").wantState(Backoff)
}

func TestBackoffDoublesToItsMaximumAndIsForgiven(t *testing.T) {
	r := newTrial(t, nil).events("start")
	for _, want := range []string{"500ms", "1s", "2s", "4s", "8s", "16s", "30s", "30s"} {
		r.events("spawned exit:1")
		r.wantDone("disarm", "to backoff", "arm "+want)
		r.events("elapsed")
	}
	r.events("spawned reach:ready +29s exit:1")
	r.wantDone("disarm", "to backoff", "arm 30s") // not healthy for long enough
	r.events("elapsed spawned reach:ready +30s exit:1")
	r.wantDone("disarm", "to backoff", "arm 500ms")
	r.events("elapsed spawned reach:ready +30s lost exit:1") // it was healthy all the same
	r.wantDone("disarm", "to backoff", "arm 500ms")
}

func TestJitterOnlyLengthensABackoff(t *testing.T) {
	for _, c := range []struct {
		chance float64
		want   time.Duration
	}{{0, 500 * time.Millisecond}, {0.5, 550 * time.Millisecond}, {0.999, 599900 * time.Microsecond}} {
		if got := backoff(1, c.chance); got != c.want {
			t.Errorf("chance %v: %s, want %s", c.chance, got, c.want)
		}
	}
}

func TestSilenceKillsOnlyWhatIsSilentForLong(t *testing.T) {
	for _, c := range []struct {
		name, events string
		want         State
	}{
		{"15 s and three checks", up + "+5s silent +5s silent +5s silent", Killing},
		{"not yet 15 s", up + "+5s silent +5s silent +4900ms silent", Ready},
		{"answered in between", up + "+7s silent +7s alive silent silent +14s silent", Ready},
		{"the supervisor itself was away", up + "+1h silent", Ready},
		{"the supervisor itself was away, and so is the child", up + "+1h silent silent silent", Killing},
		{"a slow first start", "start spawned +20s silent silent +39s silent", Starting},
		{"a first start that hangs", "start spawned +20s silent silent +40s silent", Killing},
		{"unready", up + "lost +15s silent silent silent", Killing},
		{"what is stopping has its budget", up + "stop +1h silent silent silent", Stopping},
		{"nobody", up + "exit:1 +1h silent silent silent", Backoff},
	} {
		t.Run(c.name, func(t *testing.T) { newTrial(t, nil).events(c.events).wantState(c.want) })
	}
}

func TestWhatWasKilledForSilenceStartsAgainAfterItsExit(t *testing.T) {
	r := newTrial(t, nil).events(up + "+15s silent silent silent")
	r.wantDone("disarm", "to killing", "signal SIGKILL")
	r.events("exit:kill")
	r.wantDone("disarm", "to backoff", "arm 500ms")
	if got := r.m.View().LastExit.Reason; got != "no health for 15s" {
		t.Errorf("reason %q", got)
	}
	if r.m.View().Forced {
		t.Error("a hang is no stop that was forced")
	}
}

func TestViewTellsTheLastExitAndTheRestarts(t *testing.T) {
	r := newTrial(t, nil).events(up + "exit:kill elapsed spawned")
	v := r.m.View()
	if v.Restarts != 1 || v.PID != 42 || v.Stage != "" || v.LastExit.Signal != syscall.SIGKILL || !v.EverReady {
		t.Errorf("%+v", v)
	}
}

func TestForcedStopsAreRemembered(t *testing.T) {
	for events, want := range map[string]bool{
		up + "stop exit:0":            false,
		up + "exit:kill elapsed stop": false,
		up + "stop elapsed exit:kill": true,
		up + "hurry exit:kill":        true,
	} {
		if got := newTrial(t, nil).events(events).m.View().Forced; got != want {
			t.Errorf("%s: %v", events, got)
		}
	}
}

// TestNoSuccessorBeforeTheExit holds what data safety rests on: two processes of
// one child never live at the same time, whatever happens in whatever order.
func TestNoSuccessorBeforeTheExit(t *testing.T) {
	words := []string{"start", "reach:ready", "lost", "elapsed", "rejected", "restart", "stop", "hurry", "silent", "+20s", "exit:1"}
	var walk func(path []string)
	walk = func(path []string) {
		r := newTrial(t, nil)
		lives := 0
		for _, word := range path {
			r.did = nil
			r.event(word)
			if word == "exit:1" {
				lives = 0
			}
			for _, did := range r.did {
				if did == "launch" {
					lives++
				}
			}
			if lives > 1 {
				t.Fatalf("two processes after %v", path)
			}
		}
		if len(path) < 5 {
			for _, word := range words {
				walk(append(slices.Clip(path), word))
			}
		}
	}
	walk([]string{"start"})
}
