package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/internal/cli"
	"triptych.dev/triptych/internal/tier"
)

func TestStartsTellsEveryStageAndStopsInOrder(t *testing.T) {
	s := install(t).run()
	status := s.ready()
	for _, name := range tier.Order {
		for _, stage := range []tier.Stage{tier.Configured, tier.Constructed, tier.Prepared, tier.Ready} {
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^%s-0: %s \([\d.]+m?s\)$`, name, stage)).MatchString(s.out.String()) {
				t.Errorf("%s of %s was not told", stage, name)
			}
		}
	}
	s.line("kubectl --kubeconfig "+filepath.Join(s.dataDir, "admin.kubeconfig"), 1)
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
	s.gone(pids(status))
	inOrder(t, s.out.String(), "aggregator-0: stopped", "core-0: stopped", "extensions-0: stopped", "etcd: stopped")
}

func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		_, rest, found := strings.Cut(text, part)
		if !found {
			t.Fatalf("%q is missing, or too early", part)
		}
		text = rest
	}
}

func TestStatusIsWhatScriptsRelyOn(t *testing.T) {
	s := install(t).run()
	s.ready()
	var got map[string]any
	r := s.do("status", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != cli.ExitOK {
		t.Fatalf("%v, exit code %d", err, r.code)
	}
	for _, key := range []string{"phase", "secureURL", "insecureURL", "etcd", "tiers"} {
		if _, ok := got[key]; !ok {
			t.Errorf("no %s in %s", key, r.stdout)
		}
	}
	tiers := got["tiers"].([]any)
	if len(tiers) != 3 {
		t.Fatalf("%d tiers", len(tiers))
	}
	replica := tiers[0].(map[string]any)["replicas"].([]any)[0].(map[string]any)
	for _, key := range []string{"pid", "stage", "restarts", "startedAt", "rssBytes", "address"} {
		if v, ok := replica[key]; !ok || key != "restarts" && (v == "" || v == 0.0) {
			t.Errorf("%s is %v in %s", key, v, r.stdout)
		}
	}
	if _, err := time.Parse(time.RFC3339, replica["startedAt"].(string)); err != nil {
		t.Error(err)
	}
	for _, format := range []string{"", "wide", "yaml"} {
		if r := s.do("status", "-o", format); r.code != cli.ExitOK || !strings.Contains(r.stdout, "aggregator") {
			t.Errorf("-o %q: exit code %d, %s", format, r.code, r.stdout)
		}
	}
	if r := s.do("status", "-o", "xml"); r.code != cli.ExitConfiguration {
		t.Errorf("-o xml: exit code %d", r.code)
	}
}

func TestStatusTellsThePhaseByItsExitCode(t *testing.T) {
	i := install(t)
	if r := i.do("status"); r.code != cli.ExitConfiguration {
		t.Errorf("no data directory: exit code %d, %s", r.code, r.stderr)
	}
	i.behave(tier.Extensions, behavior{NeverReady: true})
	i.behave(tier.Aggregator, behavior{StopTakes: time.Hour})
	s := i.run()
	s.line("core-0: ready", 1)
	if status, code := s.status(); code != cli.ExitStarting || status.Phase != "Starting" {
		t.Errorf("exit code %d, phase %s", code, status.Phase)
	}
	i.behave(tier.Extensions, behavior{})
	if r := s.do("restart", "extensions"); r.code != cli.ExitOK {
		t.Fatal(r.stderr)
	}
	i.behave(tier.Extensions, behavior{NeverReady: true})
	kill(t, replicaOf(s.ready(), tier.Extensions).PID)
	s.line("extensions-1: prepared", 2)
	if status, code := s.status(); code != cli.ExitDegraded || status.Phase != "Degraded" {
		t.Errorf("exit code %d, phase %s", code, status.Phase)
	}
	if r := s.do("status", "--alive"); r.code != cli.ExitOK || !strings.Contains(r.stdout, "Degraded") {
		t.Errorf("it is alive, and the exit code is %d: %s", r.code, r.stderr)
	}
	s.signal(syscall.SIGTERM)
	s.line("phase: Stopping", 1)
	status, code := s.status()
	if code != cli.ExitStopping || status.Phase != "Stopping" {
		t.Errorf("exit code %d, phase %s", code, status.Phase)
	}
	s.line("aggregator-0: draining", 1)
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != cli.ExitForced {
		t.Errorf("exit code %d after a second signal", code)
	}
	for _, args := range [][]string{{"status"}, {"status", "--alive"}} {
		if r := s.do(args...); r.code != cli.ExitNotRunning || !strings.Contains(r.stderr, s.dataDir) {
			t.Errorf("%q: exit code %d, %s", args, r.code, r.stderr)
		}
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestACrashKeepsTheListener: who connects while a tier is dead waits and is
// served by the successor, and nobody is refused.
func TestACrashKeepsTheListener(t *testing.T) {
	s := install(t).run()
	before := s.ready()
	u, err := url.Parse(before.SecureURL)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, replicaOf(before, tier.Aggregator).PID)
	var answer int
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fscan(c, &answer); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	s.line("aggregator-0: ready", 2)
	after := s.ready()
	was, is := replicaOf(before, tier.Aggregator), replicaOf(after, tier.Aggregator)
	if is.PID == was.PID || is.Restarts != 1 || is.Address != was.Address || after.SecureURL != before.SecureURL {
		t.Errorf("%+v was %+v", is, was)
	}
	if e := is.LastExit; e == nil || e.Signal != "SIGKILL" || e.Code != -1 {
		t.Errorf("last exit %+v", e)
	}
	for _, name := range []tier.Name{tier.Core, tier.Extensions} {
		if replicaOf(after, name).PID != replicaOf(before, name).PID {
			t.Errorf("%s was restarted, too", name)
		}
	}
}

func TestEtcdIsRestartedOnItsPortAndTheTiersStay(t *testing.T) {
	s := install(t).run()
	before := s.ready()
	kill(t, before.Etcd.PID)
	s.line("etcd: ready", 2)
	after := s.ready()
	if after.Etcd.PID == before.Etcd.PID || replicaOf(after, tier.Core).PID != replicaOf(before, tier.Core).PID {
		t.Errorf("%+v was %+v", after, before)
	}
}

// TestNothingOutlivesTheSupervisor: not even when it gets no chance to stop.
func TestNothingOutlivesTheSupervisor(t *testing.T) {
	i := install(t)
	for _, name := range tier.Order {
		i.behave(name, behavior{IgnoreStop: true})
	}
	s := i.run()
	all := pids(s.ready())
	s.signal(syscall.SIGKILL)
	s.wait()
	s.gone(all)
	s = i.run() // and what it left is in nobody's way
	s.ready()
	s.signal(syscall.SIGINT)
	s.line("aggregator-0: draining", 1)
	s.signal(syscall.SIGINT)
	s.wait()
}

func TestMistakesAreNamedBeforeAnythingStarts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\nsecurePrt: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"unknown flag", []string{"--feature-gate=A=true"}, cli.ExitConfiguration, []string{"--feature-gate", "did you mean --feature-gates?"}},
		{"nothing like a flag", []string{"--qwertyuiop"}, cli.ExitConfiguration, []string{"--qwertyuiop", "neither"}},
		{"no number", []string{"--secure-port=https"}, cli.ExitConfiguration, []string{"--secure-port"}},
		{"no port", []string{"--secure-port=65536"}, cli.ExitConfiguration, []string{"--secure-port=65536"}},
		{"port taken", []string{"--bind-address=127.0.0.1", "--secure-port=" + port}, cli.ExitFailure, []string{"--secure-port", port}},
		{"foreign address", []string{"--bind-address=192.0.2.1"}, cli.ExitFailure, []string{"--bind-address", "192.0.2.1"}},
		{"insecure port taken", []string{"--insecure-port=" + port}, cli.ExitFailure, []string{"--insecure-port", port, "taken"}},
		{"insecure address without a port", []string{"--insecure-bind-address=192.0.2.1"}, cli.ExitConfiguration, []string{"192.0.2.1", "loopback"}},
		{"insecure address", []string{"--insecure-port=8080", "--insecure-bind-address=0.0.0.0"}, cli.ExitConfiguration, []string{"--insecure-bind-address", "loopback"}},
		{"program missing", []string{"--bin-dir=/nonexistent"}, cli.ExitConfiguration, []string{"/nonexistent/extensions", "--bin-dir"}},
		{"no configuration file", []string{"--config=/nonexistent"}, cli.ExitConfiguration, []string{"--config", "/nonexistent"}},
		{"unknown field", []string{"--config=" + config}, cli.ExitConfiguration, []string{"securePrt"}},
		{"half of etcd's certificates", []string{"--etcd-servers=https://127.0.0.1:2379", "--etcd-certfile=/dev/null"}, cli.ExitConfiguration, []string{"--etcd-keyfile"}},
		{"etcd without a URL", []string{"--etcd-servers=127.0.0.1:2379"}, cli.ExitConfiguration, []string{"--etcd-servers", "https://"}},
		{"certificates for no etcd", []string{"--etcd-cafile=/dev/null"}, cli.ExitConfiguration, []string{"--etcd-servers"}},
		{"half a certificate", []string{"--tls-cert-file=/dev/null"}, cli.ExitConfiguration, []string{"--tls-private-key-file"}},
		{"no duration", []string{"--request-timeout=60"}, cli.ExitConfiguration, []string{"--request-timeout=60"}},
		{"an argument", []string{"now"}, cli.ExitConfiguration, []string{`"now"`}},
		{"loopback address", []string{"--advertise-address=127.0.0.1"}, cli.ExitConfiguration, []string{"--endpoint-reconciler-type=none"}},
		{"no address", []string{"--advertise-address=here"}, cli.ExitConfiguration, []string{"--advertise-address=here"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := install(t).run(c.args...)
			if code := s.wait(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			stderr := s.stderr.String()
			if !strings.HasPrefix(stderr, "error: ") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("want one line of error, not %q", stderr)
			}
			for _, part := range c.says {
				if !strings.Contains(stderr, part) {
					t.Errorf("%q is missing in %q", part, stderr)
				}
			}
			if strings.Contains(s.out.String(), "starting") {
				t.Errorf("something was started: %s", s.out)
			}
		})
	}
}

func TestATiersMistakeEndsTheRun(t *testing.T) {
	i := install(t)
	i.behave(tier.Core, behavior{Error: "unrecognized feature gate: Flying"})
	s := i.run()
	if code := s.wait(); code != cli.ExitConfiguration {
		t.Errorf("exit code %d", code)
	}
	if got, want := s.stderr.String(), "error: cannot start core: unrecognized feature gate: Flying\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestASecondSupervisorIsRefused(t *testing.T) {
	i := install(t)
	s := i.run()
	s.ready()
	second := i.run()
	if code := second.wait(); code != cli.ExitFailure {
		t.Errorf("exit code %d", code)
	}
	if pid := fmt.Sprintf("pid %d", s.cmd.Process.Pid); !strings.Contains(second.stderr.String(), pid) {
		t.Errorf("%q is missing in %q", pid, second.stderr)
	}
	s.ready()
}

func TestStopWaitsUntilAllIsGone(t *testing.T) {
	i := install(t)
	s := i.run()
	status := s.ready()
	if r := i.do("stop"); r.code != cli.ExitOK {
		t.Fatal(r.stderr)
	}
	for _, pid := range append(pids(status), s.cmd.Process.Pid) {
		if exists(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if r := i.do("stop"); r.code != cli.ExitOK || !strings.Contains(r.stdout, "no supervisor is running on "+i.dataDir) {
		t.Errorf("a second stop: exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
}

// exists does not count a process that has ended and was not waited for: the
// supervisor's parent is this test.
func exists(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestRestartOfOneTier(t *testing.T) {
	i := install(t)
	s := i.run()
	before := s.ready()
	if r := i.do("restart", "core"); r.code != cli.ExitOK {
		t.Fatal(r.stderr)
	}
	after, code := s.status()
	is := replicaOf(after, tier.Core)
	if code != cli.ExitOK || is.PID == replicaOf(before, tier.Core).PID || is.Stage != "ready" {
		t.Errorf("exit code %d, %+v", code, is)
	}
	inOrder(t, s.out.String(), "core-1: ready", "core-0: stopping") // make before break
	i.behave(tier.Core, behavior{Error: "no such file"})
	for _, name := range []string{"core", "core-1"} {
		if r := i.do("restart", name); r.code != cli.ExitFailure || !strings.Contains(r.stderr, "core-1, which goes on") || !strings.Contains(r.stderr, "no such file") {
			t.Errorf("exit code %d, %s", r.code, r.stderr)
		}
	}
	if status, code := s.status(); code != cli.ExitOK || replicaOf(status, tier.Core).PID != is.PID {
		t.Errorf("exit code %d, %+v", code, status)
	}
	if r := i.do("restart", "scheduler"); r.code != cli.ExitConfiguration {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}

func TestScaleAddsReplicasAndTakesThemAway(t *testing.T) {
	i := install(t)
	s := i.run("--replicas=extensions=2")
	before := replicaOf(s.ready(), tier.Core).PID
	if r := i.do("scale", "core=3", "extensions=1"); r.code != cli.ExitOK || !strings.Contains(r.stdout, "core=3 until the supervisor ends, then core=1 again") ||
		!strings.Contains(r.stdout, "extensions=1 until the supervisor ends, then extensions=2 again") {
		t.Fatal(r.stdout, r.stderr)
	}
	s.wantScaled("core", "extensions")
	s.wantReplicas("aggregator-0 core-0 core-1 core-2 extensions-0")
	i.behave(tier.Core, behavior{Error: "no such file"})
	if r := i.do("scale", "core=4"); r.code != cli.ExitFailure || !strings.Contains(r.stderr, "no such file") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	s.wantReplicas("aggregator-0 core-0 core-1 core-2 extensions-0")
	i.behave(tier.Core, behavior{})
	if r := i.do("restart", "core-1"); r.code != cli.ExitOK {
		t.Error(r.stderr)
	}
	s.wantReplicas("aggregator-0 core-0 core-2 core-3 extensions-0")
	s.wantScaled("core", "extensions")
	if r := i.do("scale", "core=1"); r.code != cli.ExitOK || r.stdout != "" {
		t.Error(r.stdout, r.stderr)
	}
	s.wantScaled("extensions")
	s.wantReplicas("aggregator-0 core-0 extensions-0")
	if status, _ := s.status(); replicaOf(status, tier.Core).PID != before {
		t.Error("the first replica is another process")
	}
	for _, wrong := range []string{"core=0", "core=17", "core", "scheduler=2", "etcd=3", "core=2,core=3"} {
		if r := i.do("scale", wrong); r.code != cli.ExitConfiguration {
			t.Errorf("%s: exit code %d, %s", wrong, r.code, r.stderr)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(s.dataDir, "run", "*.wiring.json")); len(files) != 3 {
		t.Errorf("wiring is left behind: %q", files)
	}
}

// wantScaled checks of which tiers the status says that the next start has another number of processes.
func (s *supervisor) wantScaled(want ...string) {
	s.t.Helper()
	var told []string
	for line := range strings.Lines(s.do("status").stdout) {
		if said, ok := strings.CutPrefix(line, "Scale: "); ok {
			name, _, _ := strings.Cut(said, "=")
			told = append(told, name)
		}
	}
	slices.Sort(told)
	if !slices.Equal(told, want) {
		s.t.Errorf("the status says that %v are not for good, want %v", told, want)
	}
}

// wantReplicas checks which processes there are, and that all are ready.
func (s *supervisor) wantReplicas(want string) {
	s.t.Helper()
	status, _ := s.status()
	var names []string
	for _, t := range status.Tiers {
		for _, r := range t.Replicas {
			if names = append(names, r.Name); r.Stage != "ready" {
				s.t.Errorf("%s is %s", r.Name, r.Stage)
			}
		}
	}
	if got := strings.Join(names, " "); got != want {
		s.t.Errorf("there are %s, want %s", got, want)
	}
}

func TestLogsAndKubeconfig(t *testing.T) {
	i := install(t)
	s := i.run("--v=4", "--feature-gates=A=true", "--feature_gates=B=false", "--allow-privileged=false")
	s.ready()
	core := i.do("logs", "core")
	for _, part := range []string{"fake core", "--v=4", "--feature-gates=A=true --feature-gates=B=false", "--allow-privileged=false"} {
		if !strings.Contains(core.stdout, part) {
			t.Errorf("%q is missing in core's log: %s", part, core.stdout)
		}
	}
	all := i.do("logs")
	if all.code != cli.ExitOK || !strings.Contains(all.stdout, "| fake extensions") || !strings.Contains(all.stdout, "etcd         | ") {
		t.Errorf("not all logs: exit code %d, %s, %.200s", all.code, all.stderr, all.stdout)
	}
	if r := i.do("logs", "extensions"); strings.Contains(r.stdout, "--allow-privileged") {
		t.Error("extensions was given a flag of core's")
	}
	follow := i.command("logs", "-f", "core")
	lines := &transcript{}
	follow.Stdout = lines
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	kill(t, replicaOf(s.ready(), tier.Core).PID)
	s.until("the second life is followed", func() bool { return strings.Count(lines.String(), "fake core") == 2 })
	_ = follow.Process.Kill()
	_ = follow.Wait()

	path := filepath.Join(i.dataDir, "admin.kubeconfig")
	if r := i.do("kubeconfig", "--path"); strings.TrimSpace(r.stdout) != path {
		t.Errorf("%q, want %q", r.stdout, path)
	}
	want, err := os.ReadFile(path)
	if r := i.do("kubeconfig"); err != nil || r.stdout != string(want) {
		t.Errorf("%v, %q", err, r.stdout)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", err, info)
	}
}

func TestTheConfigurationFileGivesWayToFlags(t *testing.T) {
	i := install(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(`
apiVersion: supervisor.triptych.dev/v1alpha1
kind: SupervisorConfiguration
bindAddress: 127.0.0.1
securePort: 1
flags:
  v: 3
  feature-gates: [A=true, B=false]
  enable-priority-and-fairness: true
`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := i.run("--config", config, "--v=5") // run gives --secure-port=0
	s.ready()
	log := i.do("logs", "core").stdout
	for _, part := range []string{"--v=5", "--feature-gates=A=true --feature-gates=B=false", "--enable-priority-and-fairness=true"} {
		if !strings.Contains(log, part) {
			t.Errorf("%q is missing in %s", part, log)
		}
	}
	if strings.Contains(log, "--v=3") {
		t.Error("the flag did not win")
	}
}

func TestTheControlSocketIsForTheOwner(t *testing.T) {
	s := install(t).run()
	s.ready()
	info, err := os.Stat(filepath.Join(s.dataDir, "run", "control.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", err, info)
	}
}
