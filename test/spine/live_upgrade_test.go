package spine

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// traffic is reads of every tier, and one who writes and watches.
type traffic struct {
	load    *harness.Load
	written *journal
}

func beginTraffic(t *testing.T, c *harness.Cluster, group string) *traffic {
	t.Helper()
	installCRD(t, &c.API, group)
	c.Kubectl(t, "create", "configmap", "read", "--from-literal=key=value")
	paths := []string{
		"/api/v1/namespaces/default/configmaps/read", createGadget(t, &c.API, group, "one"),
		"/apis/apiregistration.k8s.io/v1/apiservices/v1.apps", "/apis/" + group + "/v1", "/version",
	}
	return &traffic{load: harness.MustLoad(t, c.Config(t), 6, paths, harness.IsOK), written: openJournal(t, c.Config(t), "written")}
}

// end demands that nobody has noticed anything.
func (r *traffic) end(t *testing.T) {
	t.Helper()
	r.written.close(t)
	report := r.load.Stop()
	if len(report.Failures) > 0 || report.OK() < 1000 {
		t.Errorf("%d were fine, %d failed:\n%s", report.OK(), len(report.Failures), firstLines(strings.Join(report.Failures, "\n"), 10))
	}
	t.Logf("%d reads", report.OK())
}

// wantPrograms demands that every process is of dir and of a version, and emulates no
// other than that.
func wantPrograms(t *testing.T, c *harness.Cluster, dir, version, emulates string) {
	t.Helper()
	for _, tier := range c.WaitReady(t).Tiers {
		for _, r := range tier.Replicas {
			args := harness.ArgsOf(r.PID)
			if r.BinDir != dir || !strings.HasPrefix(r.Version, version) || r.Emulates != emulates || len(args) == 0 || !strings.HasPrefix(args[0], dir) {
				t.Errorf("%s is %s of %s and emulates %q: %.200q", r.Name, r.Version, r.BinDir, r.Emulates, args)
			}
		}
	}
}

// pidsOf are the processes of all replicas.
func pidsOf(s harness.Status) map[string]int {
	all := map[string]int{}
	for _, tier := range s.Tiers {
		for _, r := range tier.Replicas {
			all[r.Name] = r.PID
		}
	}
	return all
}

// A release of the next minor, which speaks the next protocol, takes over and is given up
// again, and takes over for good.
func TestALiveUpgradeFailsNoRequest(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{Args: []string{"--replicas=core=2"}})
	next := harness.NextBinDir(t)
	users := beginTraffic(t, c, "upgrade.example.com")
	do := func(want string, args ...string) {
		t.Helper()
		stdout, stderr, code := c.Supervisor(t.Context(), append([]string{"upgrade", "--settle=1s"}, args...)...)
		if code != 0 || !strings.Contains(stdout, want) {
			t.Fatalf("%v: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
	emulation := func() string {
		var version map[string]any
		c.Get(t, "/version").Into(t, &version)
		return fmt.Sprint(version["minor"], " as ", version["emulationMinor"])
	}
	do("they emulate Kubernetes 1.37", "--bin-dir", next.Dir, "--hold")
	wantPrograms(t, c, next.Dir, "v1.38.0", "1.37")
	if got := emulation(); got != "38 as 37" {
		t.Errorf("/version says %s", got)
	}
	do("again", "--rollback")
	wantPrograms(t, c, harness.BinDir(), "v1.37", "")
	do("there is no way back", "--bin-dir", next.Dir)
	wantPrograms(t, c, next.Dir, "v1.38.0", "")
	if got := emulation(); got != "38 as 38" {
		t.Errorf("/version says %s", got)
	}
	users.end(t)
	// What was upgraded stays, whichever supervisor is started next.
	c.Stop(t)
	again := harness.Run(t, harness.Options{Dir: c.Dir})
	wantPrograms(t, again, next.Dir, "v1.38.0", "")
	if err := again.Output.Contains("which they were upgraded to"); err != nil {
		t.Error(err)
	}
}

// A release whose core starts and never gets ready costs nobody a request.
func TestAnUpgradeThatDoesNotGetReadyIsRolledBackUnnoticed(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, tier := range []string{"core", "aggregator"} {
		t.Run(tier, func(t *testing.T) {
			c := harness.Run(t, harness.Options{})
			next := harness.NextBinDir(t)
			// It says its version as it should, and then nothing ever again.
			next.Wrap(t, tier, `[ "$1" = version ] && exec $real version; exec sleep 1000`)
			users := beginTraffic(t, c, "fails.example.com")
			_, stderr, code := c.Supervisor(t.Context(), "upgrade", "--bin-dir", next.Dir, "--ready-within=20s", "--settle=1s")
			if code != 5 || !strings.Contains(stderr, "not ready within 20s") || !strings.Contains(stderr, "rolled back") {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			wantPrograms(t, c, harness.BinDir(), "v1.37", "")
			users.end(t)
			if _, err := os.Stat(c.Path("upgrade.json")); !os.IsNotExist(err) {
				t.Errorf("the upgrade is remembered: %v", err)
			}
		})
	}
}

// Programs that cannot work with those that run are refused before anything is touched.
func TestAnUpgradeThatCannotWorkIsRefused(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	before := pidsOf(c.WaitReady(t))
	speaking := func(newest, oldest int) func(t *testing.T, p *harness.Programs) {
		return func(t *testing.T, p *harness.Programs) {
			for _, tier := range []string{"core", "extensions", "aggregator"} {
				said := harness.Must(json.Marshal(map[string]any{
					"tier": tier, "version": "next", "kubernetes": "v1.38.0", "protocol": newest, "oldestProtocol": oldest,
				}))(t)
				p.Wrap(t, tier, `[ "$1" = version ] && echo '`+string(said)+`' || exec $real "$@"`)
			}
		}
	}
	for name, refused := range map[string]struct {
		change func(t *testing.T, p *harness.Programs)
		says   string
	}{
		"protocol N+2":    {speaking(4, 3), "speaks protocols 3 to 4"},
		"protocol N-2":    {speaking(0, -1), "speaks protocols -1 to 0"},
		"missing program": {func(t *testing.T, p *harness.Programs) { p.Remove(t, "extensions") }, "cannot find the program of extensions"},
		"broken program":  {func(t *testing.T, p *harness.Programs) { p.Break(t, "core") }, "does not say its version"},
		"mixture":         {func(t *testing.T, p *harness.Programs) { p.Mend(t, "aggregator") }, "not of one version"},
	} {
		t.Run(name, func(t *testing.T) {
			next := harness.NextBinDir(t)
			refused.change(t, next)
			_, stderr, code := c.Supervisor(t.Context(), "upgrade", "--bin-dir", next.Dir)
			if code != 64 || !strings.Contains(stderr, refused.says) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d: %s", code, stderr)
			}
		})
	}
	if now := pidsOf(c.WaitReady(t)); !maps.Equal(now, before) {
		t.Errorf("processes were replaced: %v, before %v", now, before)
	}
}

// Killed half way, the supervisor leaves nothing behind, and its successor runs the old
// programs with everything that was acknowledged.
func TestAnUpgradeWhoseSupervisorIsKilledLosesNothing(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{})
	next := harness.NextBinDir(t)
	next.Wrap(t, "aggregator", `[ "$1" = version ] && exec $real version; exec sleep 1000`)
	c.Kubectl(t, "create", "configmap", "before", "--from-literal=key=value")
	command := harness.Must(harness.StartProcess(syscall.SIGTERM, nil, harness.Bin("supervisor"), "upgrade", "--bin-dir", next.Dir, "--data-dir", c.Dir))(t)
	c.WaitStatus(t, harness.StartBound, "core and extensions are new, and the head waits", func(s harness.Status) bool {
		return s.Upgrade != nil && strings.Contains(s.Upgrade.Step, "replacing aggregator-0") && s.Replica("core").BinDir == next.Dir
	})
	c.Kubectl(t, "create", "configmap", "meanwhile", "--from-literal=key=value")
	c.Signal(syscall.SIGKILL)
	if err := c.GoneWithin(soon); err != nil {
		t.Error(err)
	}
	if code, err := command.Wait(soon); err != nil || code == 0 {
		t.Errorf("the command ends with %d %v", code, err)
	}
	again := harness.Run(t, harness.Options{Dir: c.Dir})
	if err := again.Output.Contains("was interrupted before all tiers were new"); err != nil {
		t.Error(err)
	}
	wantPrograms(t, again, harness.BinDir(), "v1.37", "")
	again.Kubectl(t, "get", "configmap", "before", "meanwhile")
	if _, stderr, code := again.Supervisor(t.Context(), "upgrade", "--rollback"); code != 64 {
		t.Errorf("there is nothing to roll back, and the exit code is %d: %s", code, stderr)
	}
}
