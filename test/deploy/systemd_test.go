package deploy

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// mostExposed is what systemd-analyze may say of how much a unit could harm, in tenths of 0 to 10.
// A supervisor of all tiers is root, to make each process a user and mounts of its own; of
// a unit for one tier is left that it is on the network, and divides its cgroup.
var mostExposed = map[string]int{"triptych.service": 39, "triptych@.service": 14}

const unitFolder = "/usr/local/lib/triptych"

// units are the files and what an administrator would call them.
func units() map[string]string {
	all := map[string]string{"triptych.service": "triptych.service"}
	for _, name := range tier.Order {
		all["triptych@"+string(name)+".service"] = "triptych@.service"
	}
	return all
}

func TestUnitsAreValidAndExposeLittle(t *testing.T) {
	analyze := installed(t, "systemd-analyze", "systemd")
	for name, file := range units() {
		// As installed, but for where the programs are.
		unit := filepath.Join(harness.TempDir(t), name)
		harness.WriteFile(t, unit, []byte(strings.ReplaceAll(read(t, deployed("systemd", file)), unitFolder, harness.BinDir())), 0o644)
		if out, err := command(t, analyze, "verify", "--man=no", unit); err != nil || out != "" {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
	// A template is rated as it stands.
	for file, most := range mostExposed {
		if out, err := command(t, analyze, "security", "--offline=true", fmt.Sprintf("--threshold=%d", most), "--no-pager", deployed("systemd", file)); err != nil {
			t.Errorf("%s exposes more than %d tenths: %v\n%s", file, most, err, out)
		}
	}
}

// setting returns all values of a setting of a unit, one after the other.
func setting(unit, key string) (values []string) {
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

// allowedCalls resolves SystemCallFilter= as systemd does: what begins with ~ is taken away
// from what was there before.
func allowedCalls(t *testing.T, unit string) map[string]bool {
	t.Helper()
	analyze, allowed := installed(t, "systemd-analyze", "systemd"), map[string]bool{}
	var add func(name string, allow bool)
	add = func(name string, allow bool) {
		if !strings.HasPrefix(name, "@") {
			allowed[name] = allow
			return
		}
		out, err := command(t, analyze, "syscall-filter", "--no-pager", name)
		if err != nil {
			t.Fatalf("%s: %v, %s", name, err, out)
		}
		for _, line := range strings.Split(out, "\n")[1:] {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				add(line, allow)
			}
		}
	}
	for _, value := range setting(unit, "SystemCallFilter") {
		names, taken := strings.CutPrefix(value, "~")
		for name := range strings.FieldsSeq(names) {
			add(name, !taken)
		}
	}
	return allowed
}

// A filter that is too narrow is found out on somebody's machine. Here all processes run,
// from the first start to the stop, and none does what the unit would refuse.
func TestProcessesCallWhatTheUnitAllows(t *testing.T) {
	t.Run("triptych.service", func(t *testing.T) { callsOf(t, "triptych.service") })
	// The same as if it was not root.
	t.Run("triptych@.service", func(t *testing.T) { callsOf(t, "triptych@.service", "--user-range=off") })
}

func callsOf(t *testing.T, file string, flags ...string) {
	strace, unit := installed(t, "strace", "strace"), read(t, deployed("systemd", file))
	var calls []string
	for name, allowed := range allowedCalls(t, unit) {
		if allowed && name != "socket" {
			calls = append(calls, "?"+name)
		}
	}
	if len(calls) < 200 {
		t.Fatalf("the unit allows only %q", calls)
	}
	slices.Sort(calls)
	dir, seen := harness.TempDir(t), filepath.Join(harness.TempDir(t), "seen")
	p := harness.Must(harness.StartProcess(syscall.SIGTERM, nil, strace, append([]string{"-f", "--seccomp-bpf", "-qq", "-o", seen, "-e", "signal=none", "-e", "trace=!" + strings.Join(calls, ","),
		harness.Bin("supervisor"), "run", "--data-dir", dir, "--secure-port=0"}, flags...)...))(t)
	c := &harness.Cluster{API: harness.API{Kubeconfig: filepath.Join(dir, "admin.kubeconfig")}, Process: p, Dir: dir}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	c.WaitReady(t)
	c.Kubectl(t, "create", "configmap", "one")
	if out, err := command(t, harness.Bin("supervisor"), "restart", "--data-dir", dir, "extensions"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := command(t, harness.Bin("supervisor"), "stop", "--data-dir", dir); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := p.Wait(harness.StopBound); err != nil {
		t.Error(err)
	}
	families := setting(unit, "RestrictAddressFamilies")
	refused, sockets := map[string]int{}, 0
	for line := range strings.Lines(read(t, seen)) {
		call := regexp.MustCompile(`^\d+ +(\w+\((?:AF_\w+)?)`).FindStringSubmatch(line)
		switch {
		case call == nil: // the end of a process, or of a call
		case strings.HasPrefix(call[1], "socket(") && slices.Contains(strings.Fields(families[0]), strings.TrimPrefix(call[1], "socket(")):
			sockets++
		default:
			refused[strings.TrimSuffix(call[1], "(")]++
		}
	}
	if len(refused) > 0 || sockets == 0 {
		t.Errorf("the unit would refuse %v, of sockets %d are seen", fmt.Sprint(refused), sockets)
	}
}
