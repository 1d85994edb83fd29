package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/tier"
)

// configure writes the configuration file and returns its path.
func (i *installation) configure(settings string) string {
	i.t.Helper()
	path := filepath.Join(i.bin, "supervisor.yaml")
	content := "apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\n" + settings
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

// reload returns what `reload` or `config diff` says, and its exit code.
func (s *supervisor) reload(command ...string) (control.Reload, result) {
	s.t.Helper()
	r := s.do(append(command, "-o", "json")...)
	done := control.Reload{}
	if r.stdout != "" {
		if err := json.Unmarshal([]byte(r.stdout), &done); err != nil {
			s.t.Fatalf("%v in %s", err, r.stdout)
		}
	}
	return done, r
}

func outcomes(done control.Reload) string {
	var all []string
	for _, c := range done.Changes {
		all = append(all, c.Setting+" "+c.Outcome)
	}
	return strings.Join(all, ", ")
}

func (s *supervisor) count(name tier.Name) int {
	now, _ := s.status()
	for _, t := range now.Tiers {
		if t.Name == string(name) {
			return len(t.Replicas)
		}
	}
	return 0
}

func TestReloadAppliesWhatCanChangeLiveAndNamesTheRest(t *testing.T) {
	i := install(t)
	s := i.run("--config", i.configure("replicas: {core: 1}\n"))
	s.ready()
	if _, r := s.reload("config", "diff"); r.code != 0 {
		t.Errorf("nothing differs: exit code %d, %s", r.code, r.stdout)
	}
	i.configure("replicas: {core: 2}\nmemoryLimits: {extensions: 1Gi}\ntierFlags: {core: {v: 4}}\nflags: {feature-gates: A=true}\n")
	const want = "replicas.core applied, flags.feature-gates needs restart, tierFlags.core.v needs restart, memoryLimits.extensions applied"
	if done, r := s.reload("config", "diff"); r.code != 3 || outcomes(done) != want || s.count(tier.Core) != 1 {
		t.Errorf("exit code %d, %s, %d replicas: %s", r.code, outcomes(done), s.count(tier.Core), r.stderr)
	}
	if done, r := s.reload("reload"); r.code != 3 || outcomes(done) != want || s.count(tier.Core) != 2 {
		t.Errorf("exit code %d, %s, %d replicas: %s", r.code, outcomes(done), s.count(tier.Core), r.stderr)
	}
	if now, _ := s.status(); replicaOf(now, tier.Extensions).MemoryLimitBytes != 1<<30 {
		t.Errorf("%+v", replicaOf(now, tier.Extensions))
	}
	// What was left is still told of, until it was done.
	done, r := s.reload("reload")
	if r.code != 3 || outcomes(done) != "flags.feature-gates needs restart" || strings.Join(done.Waiting, ";") != "supervisor restart core" {
		t.Errorf("exit code %d, %s, waiting %q", r.code, outcomes(done), done.Waiting)
	}
	if r := s.do("restart", "core"); r.code != 0 {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	if done, _ = s.reload("config", "diff"); len(done.Waiting) > 0 {
		t.Errorf("waiting %q", done.Waiting)
	}
	log, err := os.ReadFile(filepath.Join(i.dataDir, "log", "core.log"))
	if err != nil || !strings.Contains(string(log), "--v=4") || strings.Contains(string(log), "--feature-gates=A=true") {
		t.Errorf("core was started with %s %v", log, err)
	}
	s.signal(syscall.SIGTERM)
	s.wait()
}

func TestAReloadWithAMistakeChangesNothing(t *testing.T) {
	i := install(t)
	s := i.run("--config", i.configure("replicas: {core: 1}\n"))
	s.ready()
	i.configure("replicas: {core: 2}\nsecurePrt: 1\n")
	if _, r := s.reload("reload"); r.code != 64 || !strings.Contains(r.stderr, "did you mean securePort?") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	s.signal(syscall.SIGHUP)
	s.line("cannot reload, everything is as before", 1)
	if s.count(tier.Core) != 1 {
		t.Error("it has changed")
	}
	i.configure("replicas: {core: 2}\n")
	s.signal(syscall.SIGHUP)
	s.until("two replicas of core", func() bool { return s.count(tier.Core) == 2 })
}

func TestAReloadThatCannotHaveItsReplicasSaysSoAndTriesAgain(t *testing.T) {
	i := install(t)
	s := i.run("--config", i.configure(""))
	s.ready()
	i.configure("replicas: {core: 2}\n")
	i.behave(tier.Core, behavior{CrashAt: tier.Prepared})
	done, r := s.reload("reload")
	if r.code != 1 || outcomes(done) != "replicas.core failed" || !strings.Contains(r.stderr, "replicas.core") {
		t.Errorf("exit code %d, %s, %s", r.code, outcomes(done), r.stderr)
	}
	i.behave(tier.Core, behavior{})
	if done, r = s.reload("reload"); r.code != 0 || s.count(tier.Core) != 2 {
		t.Errorf("exit code %d, %s, %s", r.code, outcomes(done), r.stderr)
	}
}

func TestConfigurationIsCheckedWithoutASupervisor(t *testing.T) {
	i := install(t)
	path := i.configure("securePort: 1\nreplicas: {core: 2}\n")
	if r := i.do("config", "validate", "--config", path); r.code != 0 || !strings.HasPrefix(r.stdout, "valid: "+path) {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	if r := i.do("config", "show", "--effective", "--config", path, "--insecure-port=7"); !strings.Contains(r.stdout, "securePort: 1 # "+path) ||
		!strings.Contains(r.stdout, "insecurePort: 7 # --insecure-port") || !strings.Contains(r.stdout, "bindAddress: 0.0.0.0\n") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	i.configure("securePort: 66000\nreplicas: {core: 99}\n")
	r := i.do("config", "validate", "--config", path, "-o", "json")
	if r.code != 64 || !strings.Contains(r.stdout, `"valid": false`) || r.stderr != "" {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	if r := i.do("config", "diff"); r.code != 64 && r.code != 69 {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}
