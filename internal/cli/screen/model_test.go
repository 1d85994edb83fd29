package screen

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/vitals"
)

// update writes the frames anew: go test ./internal/cli/screen -update.
var update = flag.Bool("update", false, "write testdata anew")

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// supervisor says what it is told to.
type supervisor struct {
	status  control.Status
	metrics control.Metrics
	err     error
}

func (s *supervisor) Status(context.Context) (*control.Status, error) { return &s.status, s.err }
func (s *supervisor) Metrics(context.Context) (*control.Metrics, error) {
	return &s.metrics, s.err
}

func p[T any](v T) *T { return &v }

// busy is a sample of two cores, one of which was killed.
func busy() vitals.Sample {
	load := func(rate, p99 float64, watches, memory int64) vitals.Load {
		return vitals.Load{
			RequestsPerSecond: &rate, ErrorsPerSecond: p(rate / 1000), LatencyP50Seconds: p(p99 / 4), LatencyP99Seconds: &p99,
			InFlight: p(int64(3)), Watches: &watches, ForwardedPerSecond: p(rate / 10), HopP99Seconds: p(0.00042),
			StorageP99Seconds: p(0.0049), CPUPercent: p(rate / 20), MemoryBytes: &memory,
		}
	}
	replica := func(name string, pid, restarts int, l vitals.Load) vitals.Replica {
		return vitals.Replica{
			Name: name, PID: pid, Stage: "ready", UptimeSeconds: p(3723.0), Restarts: restarts, Version: "v1.37.2+triptych.1",
			OpenFiles: p(int64(118)), MaxFiles: p(int64(20000)), Threads: p(int64(11)), Load: l,
		}
	}
	killed := replica("core-1", 4713, 2, load(1230, 0.098, 77, 301<<20))
	killed.UptimeSeconds = p(12.0)
	killed.LastExit = &control.Exit{Code: -1, Signal: "SIGKILL", Time: noon.Add(-15 * time.Second), Reason: "it passed its memory limit of 512 MiB"}
	return vitals.Sample{
		Time: noon, IntervalSeconds: 2, Phase: "Ready", SecureURL: "https://192.0.2.1:6443", Version: "v1.37.2+triptych.1",
		Etcd: vitals.Etcd{Embedded: true, PID: 4700, SizeBytes: p(int64(310 << 10)), QuotaBytes: p(int64(8 << 30)), CPUPercent: p(3.1), MemoryBytes: p(int64(56 << 20))},
		Tiers: []vitals.Tier{
			{Name: "aggregator", Load: load(0.45, 0.005, 1, 104<<20), Replicas: []vitals.Replica{replica("aggregator-0", 4711, 0, load(0.45, 0.005, 1, 104<<20))}},
			{Name: "core", Load: load(1290, 0.098, 145, 591<<20), Replicas: []vitals.Replica{
				replica("core-0", 4712, 0, load(60.4, 0.025, 68, 290<<20)), killed,
				{Name: "core-2", Stage: "ready", Remote: true},
			}},
			{Name: "extensions", Replicas: []vitals.Replica{{Name: "extensions-0", Stage: "backoff", Restarts: 7, Problem: "no metrics of it: no answer within 2s"}}},
		},
		Total: load(1290.9, 0.097, 146, 751<<20),
	}
}

// screenOf is a model of a screen of that size, after its keys.
func screenOf(t *testing.T, width, height int, keys ...string) *model {
	t.Helper()
	m := newModel(Options{
		First: busy(), Interval: 2 * time.Second, Sampler: vitals.NewSampler(&supervisor{}),
		Explain: func(err error) error { return err },
		Events: func(of string) ([]string, error) {
			return []string{"01-02 11:59:45 " + of + "[4712] ready -> backoff: killed by SIGKILL", "01-02 11:59:48 " + of + "[4713] starting -> ready"}, nil
		},
		Logs: func(of string) (lines []string, _ error) {
			for i := range 100 {
				lines = append(lines, fmt.Sprintf("line %d of %s \x1b[31m\x07\tend", i, of))
			}
			return lines, nil
		},
	})
	m.now = func() time.Time { return noon }
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	press(m, keys...)
	return m
}

var keyCodes = map[string]rune{"up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "esc": tea.KeyEscape, "space": tea.KeySpace}

// press presses keys, and does what they ask for but to wait.
func press(m *model, keys ...string) (last tea.Cmd) {
	for _, key := range keys {
		k := tea.Key{Text: key, Code: []rune(key)[0]}
		if code, ok := keyCodes[key]; ok {
			k = tea.Key{Code: code}
		}
		_, last = m.Update(tea.KeyPressMsg(k))
		if last != nil {
			if msg, ok := last().(read); ok {
				m.Update(msg)
			}
		}
	}
	return last
}

// text is the frame without colours. It has to fit the screen.
func text(t *testing.T, m *model) string {
	t.Helper()
	lines := m.frame()
	if len(lines) != m.height {
		t.Errorf("%d lines on a screen of %d", len(lines), m.height)
	}
	for i, line := range lines {
		lines[i] = ansi.Strip(line)
		if w := ansi.StringWidth(lines[i]); w > m.width {
			t.Errorf("line %d has %d columns of %d: %q", i, w, m.width, lines[i])
		}
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		width, height int
		keys          []string
	}{
		"80x24":         {80, 24, nil},
		"160x50":        {160, 50, []string{"down", "down", "down"}},
		"80x24-events":  {80, 24, []string{"j", "j", "j", "e"}},
		"80x24-log":     {80, 24, []string{"j", "j", "l", "pgup"}},
		"80x24-help":    {80, 24, []string{"?"}},
		"160x50-sorted": {160, 50, []string{"s", "space"}},
		"40x10":         {40, 10, []string{"G"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, file := text(t, screenOf(t, c.width, c.height, c.keys...)), filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoSizeOfAScreenIsTooSmall(t *testing.T) {
	for _, keys := range [][]string{nil, {"?"}, {"G", "l", "pgup"}} {
		for width := 1; width < 200; width += 17 {
			for height := 1; height < 60; height += 8 {
				text(t, screenOf(t, width, height, keys...))
			}
		}
	}
}

// A tier that an operator has stopped is there without numbers, and the note says how it comes back.
func TestATierThatIsStoppedIsShown(t *testing.T) {
	for _, width := range []int{80, 160} {
		s := busy()
		s.Phase, s.Notes = "Degraded", []string{"extensions is stopped by operator: supervisor start extensions brings it back"}
		s.Tiers[2].Replicas = []vitals.Replica{{
			Name: "extensions-0", Stage: "stopped by operator", LastExit: &control.Exit{Time: noon.Add(-time.Minute)},
		}}
		m := screenOf(t, width, 24)
		m.Update(sampled{sample: s})
		got := text(t, m)
		for line := range strings.Lines(got) {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "extensions-0" && (!strings.Contains(line, " stopped  ") || strings.Count(line, " -") < 8) {
				t.Errorf("%q", line)
			}
		}
		if !strings.HasPrefix(got, "Degraded") || !strings.Contains(got, s.Notes[0]) || !strings.Contains(got, "\nextensions-0 ") {
			t.Error(got)
		}
	}
}

func TestTheSelectedRowIsAlwaysShown(t *testing.T) {
	m := screenOf(t, 80, 9)
	for range len(m.rows()) {
		if !strings.Contains(strings.Join(m.table(3), "\n"), m.selected) {
			t.Errorf("%s is not on:\n%s", m.selected, text(t, m))
		}
		press(m, "down")
	}
}

func TestASupervisorThatIsAwayIsSaidAndComesBack(t *testing.T) {
	m := screenOf(t, 80, 24)
	m.Update(sampled{err: control.ErrNotRunning})
	m.now = func() time.Time { return noon.Add(7 * time.Second) }
	_, next := m.Update(sampled{err: control.ErrNotRunning})
	if got := text(t, m); !strings.HasPrefix(got, "AWAY for 7s: no supervisor is running\n") || !strings.Contains(got, "what was at 12:00:00") || !strings.Contains(got, "core-1") {
		t.Error(got)
	}
	if next == nil {
		t.Error("it is not asked again")
	}
	m.Update(sampled{sample: busy()})
	if got := text(t, m); strings.Contains(got, "AWAY") || !strings.HasPrefix(got, "Ready") {
		t.Error(got)
	}
}

func TestAPauseStopsTheQuestionsAndEndsAtOnce(t *testing.T) {
	m := screenOf(t, 80, 24, "space")
	if _, next := m.Update(due{}); next != nil || !strings.Contains(text(t, m), "PAUSED") {
		t.Error("it goes on")
	}
	next := press(m, "space")
	if next == nil {
		t.Fatal("it does not go on")
	}
	if _, ok := next().(sampled); !ok || strings.Contains(text(t, m), "PAUSED") {
		t.Error("no sample is taken")
	}
	// A pause shorter than the interval leaves the question that is on its way alone.
	if press(m, "space", "space") != nil {
		t.Error("two questions are on their way")
	}
}

func TestKeysQuit(t *testing.T) {
	for _, k := range []tea.Key{{Text: "q", Code: 'q'}, {Code: 'c', Mod: tea.ModCtrl}} {
		_, cmd := screenOf(t, 80, 24, "?").Update(tea.KeyPressMsg(k))
		if cmd == nil {
			t.Fatalf("%s does nothing", k)
		}
		if _, ok := cmd().(tea.QuitMsg); !ok {
			t.Errorf("%s does not quit", k)
		}
	}
}

func TestSortingGoesThroughTheColumnsAndBack(t *testing.T) {
	m := screenOf(t, 80, 24, "s")
	if rows := m.rows(); m.sorted != "REQ/S" || rows[0].name != "core-1" || rows[1].name != "core-0" {
		t.Errorf("by %s: %+v", m.sorted, rows)
	}
	for range columns {
		if m.sorted == "" {
			break
		}
		press(m, "s")
	}
	if rows := m.rows(); m.sorted != "" || rows[1].name != "core" {
		t.Errorf("by %q: %+v", m.sorted, rows)
	}
	press(m, "down") // the tier itself, which no sorted table has
	press(m, "s")
	if m.at(m.rows()) < 0 {
		t.Errorf("%s is selected, and is no row", m.selected)
	}
}

func TestAPaneIsOfTheSelectedProcess(t *testing.T) {
	m := screenOf(t, 80, 24, "e", "j", "j")
	if got := text(t, m); !strings.Contains(got, "EVENTS of core-0") || !strings.Contains(got, "core-0[4712] ready -> backoff") {
		t.Error(got)
	}
	m.Update(read{eventsPane, "aggregator-0", []string{"late"}, nil})
	if strings.Contains(text(t, m), "late") {
		t.Error("an answer about another process is shown")
	}
	m.Update(read{eventsPane, "core-0", nil, errors.New("cannot read the events")})
	if !strings.Contains(text(t, m), "cannot read the events") {
		t.Error(text(t, m))
	}
	if press(m, "esc"); strings.Contains(text(t, m), "EVENTS of") {
		t.Error("it stays")
	}
}

// What clients send is in logs, and must not reach the terminal.
func TestLogsCannotActOnTheTerminal(t *testing.T) {
	m := screenOf(t, 80, 24, "l")
	for _, line := range m.lines {
		if strings.ContainsAny(line, "\x1b\x07\t\n\r") {
			t.Errorf("%q", line)
		}
	}
	if got := printable("a\u009b31mb\rc"); got != "a31mbc" {
		t.Errorf("%q", got)
	}
}

func TestATableForThoseWithoutATerminal(t *testing.T) {
	var b strings.Builder
	if err := Table(&b, busy()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"v1.37.2+triptych.1", "core-1", "1230", "98ms", "301M", "SIGKILL: it passed its memory limit", "extensions-0", "backoff"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}

func TestNumbersFitTheirColumns(t *testing.T) {
	for _, n := range []float64{0, 0.0001, 0.5, 9.994, 9.996, 99.94, 99.96, 999.9, 9999.4, 9999.6, 123456, 999999} {
		for name, got := range map[string]string{"rate": rate(&n), "latency": latency(p(n / 1000)), "percent": percent(&n), "size": size(p(int64(n * 1e6))), "age": age(p(n * 100)), "number": number(p(int64(n)))} {
			if w := ansi.StringWidth(got); w > 6 || w > 5 && name != "age" {
				t.Errorf("%s of %v is %q", name, n, got)
			}
		}
	}
	for want, got := range map[string]string{
		"-": rate(nil), "12.3": rate(p(12.34)), "0.45": rate(p(0.45)), "420µs": latency(p(0.00042)), "4.9ms": latency(p(0.0049)),
		"98ms": latency(p(0.098)), "1.0s": latency(p(1.0)), "60s": latency(p(60.0)), "290M": size(p(int64(290 << 20))), "8.0G": size(p(int64(8 << 30))),
		"12s": age(p(12.0)), "1h02m": age(p(3723.0)), "3d04h": age(p(3*86400 + 4*3600.0)),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
