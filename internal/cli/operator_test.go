package cli_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/internal/cli"
	"triptych.dev/triptych/internal/supervisor/events"
	"triptych.dev/triptych/internal/tier"
)

func (i *installation) events(args ...string) []events.Event {
	i.t.Helper()
	r := i.do(append([]string{"events", "-o", "json"}, args...)...)
	var all []events.Event
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		i.t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	return all
}

func count(all []events.Event, fits func(events.Event) bool) int {
	n := 0
	for _, e := range all {
		if fits(e) {
			n++
		}
	}
	return n
}

func TestEventsTellEveryChangeAlsoOfEarlierLives(t *testing.T) {
	i := install(t)
	s := i.run()
	first := replicaOf(s.ready(), tier.Core).PID
	kill(t, first)
	s.until("core is back", func() bool {
		now, code := s.status()
		return code == 0 && replicaOf(now, tier.Core).PID != first
	})
	s.signal(syscall.SIGTERM)
	s.wait()
	s = i.run()
	s.ready()
	all := i.events()
	crashes := func(e events.Event) bool {
		return e.Process == "core-0" && e.To == "backoff" && strings.Contains(e.Reason, "SIGKILL")
	}
	ready := func(e events.Event) bool {
		return e.Process == "core-0" && e.Kind == events.Stage && e.To == "ready" && e.PID != 0 && e.Seconds > 0
	}
	phase := func(e events.Event) bool { return e.Kind == events.Phase && e.To == "Ready" }
	started := func(e events.Event) bool { return e.Kind == events.Note && strings.HasPrefix(e.Reason, "started") }
	if count(all, crashes) != 1 || count(all, ready) != 3 || count(all, phase) < 2 || count(all, started) != 2 {
		t.Errorf("%d crashes, %d ready, %d phases, %d starts in %+v", count(all, crashes), count(all, ready), count(all, phase), count(all, started), all)
	}
	for n, e := range all {
		if n > 0 && e.Time.Before(all[n-1].Time) {
			t.Errorf("%+v comes after %+v", e, all[n-1])
		}
	}
	if of := i.events("--tier", "etcd"); len(of) == 0 || count(of, func(e events.Event) bool { return e.Process != "etcd" }) > 0 {
		t.Errorf("%+v", of)
	}
	if r := i.do("events", "--since", "yesterday"); r.code != 64 {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if r := i.do("events"); r.code != 0 || !strings.Contains(r.stdout, "ready -> backoff") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

func TestLogsAreMergedByTimeAndLabelled(t *testing.T) {
	i := install(t)
	s := i.run()
	pid := replicaOf(s.ready(), tier.Core).PID
	s.signal(syscall.SIGTERM)
	s.wait()
	write := func(name string, lines ...string) {
		if err := os.WriteFile(filepath.Join(i.dataDir, "log", name), []byte(strings.Join(append(lines, ""), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"aggregator.log", "etcd.log", "supervisor.log"} {
		write(name)
	}
	number := func() string { b, _ := json.Marshal(pid); return string(b) }()
	write("core-2026-01-01T00-00-00.000.log", "I0101 10:00:00.000000 "+number+" a.go:1] first")
	write("core.log", "I0101 10:00:02.000000 "+number+" a.go:1] third", "panic: fourth", "E0101 10:00:04.000000       1 a.go:1] sixth")
	write("extensions.log", "I0101 10:00:01.000000       1 a.go:1] second", "I0101 10:00:03.000000       1 a.go:1] fifth")
	var got []string
	for line := range strings.Lines(i.do("logs").stdout) {
		label, said, _ := strings.Cut(line, "|")
		said = strings.TrimSpace(said)
		got = append(got, strings.TrimSpace(label)+" "+said[strings.LastIndex(said, " ")+1:])
	}
	if want := "core-0 first, extensions second, core-0 third, core-0 fourth, extensions fifth, core sixth"; strings.Join(got[:min(len(got), 6)], ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	if r := i.do("logs", "--grep", "(first|fifth)$", "--tier", "core"); strings.Count(r.stdout, "\n") != 1 || !strings.Contains(r.stdout, "first") {
		t.Errorf("%s%s", r.stdout, r.stderr)
	}
	if r := i.do("logs", "--tier", "core-0", "-o", "json"); strings.Count(r.stdout, `"replica":"core-0"`) != 3 || strings.Count(r.stdout, "\n") != 3 {
		t.Errorf("%s%s", r.stdout, r.stderr)
	}
	for _, wrong := range [][]string{{"--grep", "("}, {"--tier", "nobody"}, {"--since", "then"}, {"-o", "xml"}} {
		if r := i.do(append([]string{"logs"}, wrong...)...); r.code != 64 {
			t.Errorf("%v: exit code %d: %s", wrong, r.code, r.stderr)
		}
	}
}

func TestHealthWaitsAndTellsByItsCode(t *testing.T) {
	i := install(t)
	if r := i.do("health"); r.code != 69 {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	waiting := i.command("health", "--wait")
	var out bytes.Buffer
	waiting.Stdout = &out
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	i.behave(tier.Extensions, behavior{NeverReady: true})
	s := i.run()
	pid := 0
	s.until("extensions is there", func() bool {
		now, _ := s.status()
		pid = replicaOf(now, tier.Extensions).PID
		return pid != 0 && replicaOf(now, tier.Extensions).Stage == string(tier.Prepared)
	})
	if r := i.do("health", "--wait", "--timeout", "300ms", "-o", "json"); r.code != 10 || !strings.Contains(r.stdout, `"ready": false`) || !strings.Contains(r.stdout, "extensions-0 is at stage") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	i.behave(tier.Extensions, behavior{})
	kill(t, pid)
	if err := waiting.Wait(); err != nil || out.String() != "ready\n" {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestADrainTakesOneOfSeveralOut(t *testing.T) {
	i := install(t)
	s := i.run("--replicas=core=2")
	s.ready()
	if r := i.do("drain", "extensions-0"); r.code != 64 || !strings.Contains(r.stderr, "supervisor scale") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if r := i.do("drain", "core-0"); r.code != 0 || s.count(tier.Core) != 1 {
		t.Errorf("exit code %d: %s, %d replicas", r.code, r.stderr, s.count(tier.Core))
	}
	if now := s.ready(); replicaOf(now, tier.Core).Name != "core-1" {
		t.Errorf("%+v is left", replicaOf(now, tier.Core))
	}
	if r := i.do("drain", "nobody"); r.code != 64 {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

func TestATierIsStoppedAndStartedByOperator(t *testing.T) {
	i := install(t)
	s := i.run("--replicas=core=2")
	s.ready()
	says := func(want int, text string, args ...string) {
		t.Helper()
		if r := i.do(args...); r.code != want || !strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("%v: exit code %d, want %d and %q: %s%s", args, r.code, want, text, r.stdout, r.stderr)
		}
	}
	says(64, "supervisor stop stops everything", "stop", "etcd")
	says(64, "supervisor stop core stops all of them", "drain", "core")
	says(64, "--now is for a stop of everything", "stop", "core", "--now")
	says(64, "unknown tier", "start", "nobody")
	says(0, "core-0   ready   (as before)", "start", "core-0")

	says(0, `"stage": "stopped by operator"`, "stop", "core-1", "-o", "json")
	says(11, "core-1 is stopped by operator: supervisor start core-1", "status")
	says(64, "the only one of core here that runs", "drain", "core-0")
	says(64, "core-1 is stopped by operator: supervisor start core-1", "scale", "core=3")
	says(0, "core-1   stopped by operator   (as before)", "stop", "core")
	says(11, "core is stopped by operator: supervisor start core", "health")
	now, _ := s.status()
	for _, r := range now.Tiers[1].Replicas {
		if r.PID != 0 || r.Stage != "stopped by operator" || r.LastExit == nil || r.LastExit.Reason != "stopped by operator" {
			t.Errorf("%+v", r)
		}
	}
	if replicaOf(now, tier.Aggregator).Restarts != 0 || replicaOf(now, tier.Aggregator).PID == 0 {
		t.Errorf("%+v", replicaOf(now, tier.Aggregator))
	}
	says(0, "core-0   ready", "start", "core")
	s.ready()

	// A stopped head does not keep clients waiting, and can be restarted.
	says(0, "aggregator-0", "stop", "aggregator")
	address := strings.TrimPrefix(now.SecureURL, "https://")
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("a stopped head accepts connections")
	}
	says(0, "", "restart", "aggregator")
	s.ready()
	if c, err := net.Dial("tcp", address); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}

	// What waits for another that is stopped says so, instead of waiting for ever.
	i.behave(tier.Aggregator, behavior{NeverReady: true})
	says(0, "", "stop", "aggregator")
	says(0, "", "stop", "core")
	says(1, "supervisor start core", "start", "aggregator")
	says(0, "", "start", "core")
	i.behave(tier.Aggregator, behavior{Error: "out of luck"})
	says(0, "", "stop", "aggregator-1")
	says(1, "out of luck", "start", "aggregator-1")

	reasons := map[string]bool{}
	for _, e := range i.events() {
		reasons[e.Process+" "+e.To+" "+e.Reason] = true
	}
	for _, want := range []string{"core-1 stopping stopped by operator", "core-1 starting started by operator", "supervisor  stop core-1", "supervisor  start core"} {
		if !reasons[want] {
			t.Errorf("no event %q in %v", want, reasons)
		}
	}
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	says(69, "no supervisor is running", "stop", "core")
	says(0, "no supervisor is running", "stop")
}

func TestAWatchedStatusIsPrintedWhenItChanges(t *testing.T) {
	i := install(t)
	s := i.run()
	pid := replicaOf(s.ready(), tier.Core).PID
	watch := i.command("status", "--watch")
	lines := &transcript{}
	watch.Stdout = lines
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("the first is printed", func() bool { return strings.Count(lines.String(), "Phase:") == 1 })
	kill(t, pid)
	s.until("another is printed", func() bool { return strings.Count(lines.String(), "Phase:") > 1 })
	s.signal(syscall.SIGTERM)
	s.wait()
	if err := watch.Wait(); err == nil || watch.ProcessState.ExitCode() != 69 {
		t.Errorf("%v", err)
	}
}

func TestTheReferenceIsUpToDate(t *testing.T) {
	var now, errs bytes.Buffer
	if code := cli.Run(t.Context(), []string{"documents", "reference"}, &now, &errs); code != 0 {
		t.Fatalf("exit code %d, %s", code, errs.String())
	}
	const name = "docs/reference/commands.md"
	written, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(written), "\n"), strings.Split(now.String(), "\n")); diff != "" {
		t.Errorf("%s is not what the commands say: run `make docs` (-written +now):\n%s", name, diff)
	}
}

func TestTheReferenceHasEveryCommandAndSoHaveManPages(t *testing.T) {
	var page, errs bytes.Buffer
	if code := cli.Run(t.Context(), []string{"documents", "reference"}, &page, &errs); code != 0 {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
	folder := t.TempDir()
	if code := cli.Run(t.Context(), []string{"documents", "man", folder}, &page, &errs); code != 0 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	for _, name := range []string{"run", "config validate", "etcd compact", "trace", "why namespace"} {
		if !strings.Contains(page.String(), "\n## supervisor "+name+"\n") {
			t.Errorf("the reference has no %s", name)
		}
		if _, err := os.Stat(filepath.Join(folder, "supervisor-"+strings.ReplaceAll(name, " ", "-")+".8")); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(page.String(), "documents") {
		t.Error("what is hidden is in the reference")
	}
}
