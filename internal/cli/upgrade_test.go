package cli_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/internal/cli"
	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

// nextMinor is what a program of the minor after this one says.
func nextMinor(name tier.Name) *process.Versions {
	v := process.VersionsOf(name)
	v.Version, v.Kubernetes = "next", "v0.1.0+triptych.next"
	return &v
}

// release is another folder of programs, each with behavior b; nil says no more than
// that it is of the next minor.
func (i *installation) release(b func(tier.Name) behavior) *installation {
	i.t.Helper()
	next := install(i.t)
	next.dataDir = i.dataDir
	for _, name := range tier.Order {
		is := behavior{Versions: nextMinor(name)}
		if b != nil {
			is = b(name)
		}
		next.behave(name, is)
	}
	return next
}

func (s *supervisor) now() control.Status {
	s.t.Helper()
	r := s.do("status", "-o", "json")
	is := control.Status{}
	if err := json.Unmarshal([]byte(r.stdout), &is); err != nil {
		s.t.Fatalf("%v: %+v", err, r)
	}
	return is
}

func (s *supervisor) replica(name string) control.Replica {
	s.t.Helper()
	for _, t := range s.now().Tiers {
		for _, r := range t.Replicas {
			if r.Name == name {
				return r
			}
		}
	}
	return control.Replica{}
}

// wantPrograms demands where the program of every process is, and what it emulates.
func (s *supervisor) wantPrograms(dir, emulates string) {
	s.t.Helper()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, t := range s.now().Tiers {
		if len(t.Replicas) != 1 {
			s.t.Errorf("%s has %d replicas", t.Name, len(t.Replicas))
		}
		for _, r := range t.Replicas {
			args, err := os.ReadFile("/proc/" + strconv.Itoa(r.PID) + "/cmdline")
			if err != nil {
				s.t.Fatal(err)
			}
			emulating := strings.Contains(string(args), "--emulated-version="+emulates+"\x00")
			if r.BinDir != real || r.Emulates != emulates || !strings.HasPrefix(string(args), real+"/") || emulating != (emulates != "") {
				s.t.Errorf("%s is of %s and emulates %q: %q, want %s and %q", r.Name, r.BinDir, r.Emulates, args, real, emulates)
			}
		}
	}
}

const quick = "--settle=100ms"

func TestAnUpgradeToTheNextMinorTakesTwoSteps(t *testing.T) {
	t.Parallel()
	i := install(t)
	s := i.run()
	s.ready()
	next := i.release(nil)
	r := s.do("upgrade", "--bin-dir", next.bin, "--hold", quick)
	if r.code != 0 || !strings.Contains(r.stdout, "they emulate Kubernetes 0.0") || !strings.Contains(r.stdout, "--rollback") {
		t.Fatalf("%+v", r)
	}
	s.wantPrograms(next.bin, "0.0")
	if u := s.now().Upgrade; u == nil || u.State != "Held" || !u.CanRollBack {
		t.Errorf("%+v", u)
	}
	if r := s.do("upgrade", "--bin-dir", i.release(nil).bin); r.code != cli.ExitConfiguration || !strings.Contains(r.stderr, "is held") {
		t.Errorf("another one meanwhile: %+v", r)
	}
	// A process that is killed comes back as what it was.
	pid := s.now().Tiers[1].Replicas[0].PID
	kill(t, pid)
	s.until("core is another process", func() bool {
		r := s.now().Tiers[1].Replicas[0]
		return r.PID != pid && r.Stage == "ready"
	})
	s.wantPrograms(next.bin, "0.0")
	r = s.do("upgrade", "--continue", quick)
	if r.code != 0 || !strings.Contains(r.stdout, "there is no way back") || !strings.Contains(r.stdout, filepath.Join(next.bin, "supervisor")+" run") {
		t.Fatalf("%+v", r)
	}
	s.wantPrograms(next.bin, "")
	if r := s.do("upgrade", "--rollback"); r.code != cli.ExitConfiguration || !strings.Contains(r.stderr, "stored in versions") {
		t.Errorf("too late: %+v", r)
	}
	// The old supervisor goes on with the new programs, and says so.
	s.signal(syscall.SIGTERM)
	s.wait()
	s = i.run()
	s.line("start the supervisor of there, too", 1)
	s.ready()
	s.wantPrograms(next.bin, "")
}

func TestAHeldUpgradeIsRolledBack(t *testing.T) {
	t.Parallel()
	i := install(t)
	s := i.run()
	s.ready()
	if r := s.do("upgrade", "--bin-dir", i.release(nil).bin, "--hold", quick); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if r := s.do("upgrade", "--rollback", quick); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	s.wantPrograms(i.bin, "")
	if u := s.now().Upgrade; u != nil {
		t.Errorf("%+v", u)
	}
	if r := s.do("upgrade", "--rollback"); r.code != cli.ExitConfiguration {
		t.Errorf("twice: %+v", r)
	}
}

func TestAUsersEmulatedVersionIsTheirs(t *testing.T) {
	t.Parallel()
	i := install(t)
	s := i.run("--emulated-version=0.0")
	s.ready()
	next := i.release(nil)
	if r := s.do("upgrade", "--bin-dir", next.bin, quick); r.code != 0 || !strings.Contains(r.stdout, "the way back, until the next upgrade") {
		t.Fatalf("%+v", r)
	}
	for _, one := range s.now().Tiers {
		args, err := os.ReadFile("/proc/" + strconv.Itoa(one.Replicas[0].PID) + "/cmdline")
		if n := strings.Count(string(args), "--emulated-version=0.0"); err != nil || n != 1 || one.Replicas[0].Emulates != "" {
			t.Errorf("%s: %q %v", one.Name, args, err)
		}
	}
}

// Whatever of the new programs does not work, the old ones are what runs then.
func TestAnUpgradeThatFailsIsRolledBack(t *testing.T) {
	for name, c := range map[string]struct {
		tier         tier.Name
		is           behavior
		within, says string
	}{
		"never ready":          {tier.Core, behavior{NeverReady: true}, "2s", "not ready within 2s"},
		"the last never ready": {tier.Aggregator, behavior{NeverReady: true}, "2s", "not ready within 2s"},
		"its flags are wrong":  {tier.Extensions, behavior{Error: "no such flag"}, "2s", "no such flag"},
		"crashes at its start": {tier.Aggregator, behavior{CrashAt: tier.Prepared}, "2s", "did not become ready"},
		"dies again and again": {tier.Core, behavior{DieAfter: 50 * time.Millisecond}, "1m", "has died 3 times"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			s := i.run()
			s.ready()
			next := i.release(func(of tier.Name) behavior {
				b := behavior{}
				if of == c.tier {
					b = c.is
				}
				b.Versions = nextMinor(of)
				return b
			})
			r := s.do("upgrade", "--bin-dir", next.bin, "--ready-within="+c.within, "--settle=1s")
			if r.code != cli.ExitRolledBack || !strings.Contains(r.stderr, c.says) || !strings.Contains(r.stderr, "rolled back") {
				t.Errorf("%+v", r)
			}
			s.wantPrograms(i.bin, "")
			if u := s.now().Upgrade; u == nil || u.State != "" || !strings.Contains(u.Problem, c.says) {
				t.Errorf("%+v", u)
			}
		})
	}
}

func TestProgramsThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	i := install(t)
	s := i.run()
	s.ready()
	before := s.now()
	for name, c := range map[string]struct {
		change func(*process.Versions)
		damage func(bin string) error
		says   string
	}{
		"protocol N+2":     {change: func(v *process.Versions) { v.Protocol, v.OldestProtocol = v.Protocol+2, v.Protocol+1 }, says: "speaks protocols 3 to 4"},
		"protocol N-2":     {change: func(v *process.Versions) { v.Protocol, v.OldestProtocol = 0, -1 }, says: "speaks protocols -1 to 0"},
		"two minors newer": {change: func(v *process.Versions) { v.Kubernetes = "v0.2.0" }, says: "one minor at a time"},
		"no version":       {change: func(v *process.Versions) { v.Kubernetes = "new" }, says: "no version"},
		"a mixture": {change: func(v *process.Versions) {
			if v.Tier == tier.Core {
				v.Version = "other"
			}
		}, says: "not of one version"},
		"exchanged": {change: func(v *process.Versions) {
			if v.Tier == tier.Core {
				v.Tier = tier.Extensions
			}
		}, says: "says that it is the program of extensions"},
		"missing": {damage: func(bin string) error { return os.Remove(filepath.Join(bin, "extensions")) }, says: "cannot find the program of extensions"},
		"not executable": {damage: func(bin string) error {
			path := filepath.Join(bin, "core")
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o600)
		}, says: "not an executable file"},
		"foreign": {damage: func(bin string) error {
			path := filepath.Join(bin, "core")
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("/bin/true", path)
		}, says: "does not say its version"},
	} {
		next := i.release(func(of tier.Name) behavior {
			v := nextMinor(of)
			if c.change != nil {
				c.change(v)
			}
			return behavior{Versions: v}
		})
		if c.damage != nil {
			if err := c.damage(next.bin); err != nil {
				t.Fatal(err)
			}
		}
		for _, check := range [][]string{{"--check"}, nil} {
			r := s.do(append([]string{"upgrade", "--bin-dir", next.bin}, check...)...)
			if r.code != cli.ExitConfiguration || !strings.Contains(r.stderr, c.says) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("%s %v: %+v", name, check, r)
			}
		}
	}
	if r := s.do("upgrade", "--bin-dir", i.bin); r.code != cli.ExitConfiguration || !strings.Contains(r.stderr, "folder of their own") {
		t.Errorf("the same folder: %+v", r)
	}
	if r := s.do("upgrade", "--bin-dir", i.release(nil).bin, "--check"); r.code != 0 || !strings.Contains(r.stdout, "can be upgraded") {
		t.Errorf("check: %+v", r)
	}
	if got, want := numbers(s.now()), numbers(before); !maps.Equal(got, want) {
		t.Errorf("processes were replaced: %v, before %v", got, want)
	}
	if _, err := os.Stat(filepath.Join(i.dataDir, "upgrade.json")); !os.IsNotExist(err) {
		t.Errorf("something is remembered: %v", err)
	}
	for _, args := range [][]string{{}, {"--continue", "--rollback"}, {"--hold", "--rollback"}, {"--bin-dir=/x", "--settle=-1s"}} {
		if r := s.do(append([]string{"upgrade"}, args...)...); r.code != cli.ExitConfiguration {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func numbers(s control.Status) map[string]int {
	all := map[string]int{}
	for _, t := range s.Tiers {
		for _, r := range t.Replicas {
			all[r.Name] = r.PID
		}
	}
	return all
}

// Who interrupts the command interrupts nothing else, and can still go back.
func TestAnInterruptedUpgradeGoesOnAndCanBeCalledBack(t *testing.T) {
	t.Parallel()
	i := install(t)
	s := i.run()
	s.ready()
	next := i.release(func(of tier.Name) behavior {
		return behavior{Versions: nextMinor(of), NeverReady: of == tier.Aggregator}
	})
	cmd := s.command("upgrade", "--bin-dir", next.bin)
	var stderr transcript
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("it waits for the last tier", func() bool {
		u := s.now().Upgrade
		return u != nil && strings.Contains(u.Step, "replacing aggregator-0")
	})
	// Half way, what crashes comes back as what it was, be it old or new.
	for _, who := range []string{"aggregator-0", "core-1"} {
		before := s.replica(who)
		kill(t, before.PID)
		s.until(who+" is another process", func() bool {
			r := s.replica(who)
			return r.PID != 0 && r.PID != before.PID && r.Stage == "ready"
		})
		args, err := os.ReadFile("/proc/" + strconv.Itoa(s.replica(who).PID) + "/cmdline")
		if err != nil || !strings.HasPrefix(string(args), before.BinDir+"/") || (before.BinDir == i.bin) != (who == "aggregator-0") {
			t.Errorf("%s was of %s and is %q %v", who, before.BinDir, args, err)
		}
	}
	if r := s.do("upgrade", "--bin-dir", next.bin); r.code != cli.ExitConfiguration || !strings.Contains(r.stderr, "under way") {
		t.Errorf("a second one: %+v", r)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(stderr.String(), "the supervisor goes on") {
		t.Errorf("%v %s", err, &stderr)
	}
	if u := s.now().Upgrade; u == nil || u.State != "Replacing" || !u.CanRollBack {
		t.Errorf("%+v", u)
	}
	if r := s.do("upgrade", "--rollback"); r.code != 0 || !strings.Contains(r.stdout, "again") {
		t.Errorf("%+v", r)
	}
	s.wantPrograms(i.bin, "")
}

// The supervisor is killed while processes of both kinds run: none is left, and the next
// one starts the old programs and says how to go on.
func TestAnUpgradeWhoseSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	i := install(t)
	s := i.run()
	s.ready()
	next := i.release(func(of tier.Name) behavior {
		return behavior{Versions: nextMinor(of), NeverReady: of == tier.Aggregator}
	})
	cmd := s.command("upgrade", "--bin-dir", next.bin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("it waits for the last tier", func() bool {
		u := s.now().Upgrade
		return u != nil && strings.Contains(u.Step, "replacing aggregator-0")
	})
	there := pids(s.now())
	s.signal(syscall.SIGKILL)
	s.wait()
	if err := cmd.Wait(); err == nil {
		t.Error("the command says that it went well")
	}
	s.gone(there)
	s = i.run()
	s.line("was interrupted before all tiers were new", 1)
	s.ready()
	s.wantPrograms(i.bin, "")
}
