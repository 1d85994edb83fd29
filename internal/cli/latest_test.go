package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/events"
)

// recorded is a data directory in which these events happened.
func recorded(t *testing.T, all ...events.Event) datadir.Dir {
	t.Helper()
	d := datadir.Dir{Root: t.TempDir()}
	if err := os.MkdirAll(d.Log(), 0o700); err != nil {
		t.Fatal(err)
	}
	var lines []byte
	for _, e := range all {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if err := os.WriteFile(d.Events(), lines, 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func writeLog(t *testing.T, d datadir.Dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(d.LogFile(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLatestEventsAreOfOneProcessAndOfTheWhole(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	d := recorded(t,
		events.Event{Time: at, Process: "core-0", PID: 7, Kind: events.State, From: "starting", To: "ready"},
		events.Event{Time: at, Process: "core-1", PID: 8, Kind: events.State, From: "ready", To: "backoff", Reason: "killed by SIGKILL"},
		events.Event{Time: at, Process: "core-1", Kind: events.Note, Reason: "nobody asked"},
		events.Event{Time: at, Process: events.Supervisor, PID: 9, Kind: events.Phase, To: "Degraded"},
		events.Event{Time: at, Process: "extensions-0", PID: 10, Kind: events.State, From: "starting", To: "ready"},
	)
	const stamp = "01-02 03:04:05 "
	core0, core1 := stamp+"core-0[7] starting -> ready", stamp+"core-1[8] ready -> backoff: killed by SIGKILL"
	note, phase := stamp+"core-1 nobody asked", stamp+"supervisor phase Degraded"
	for of, want := range map[string][]string{
		"core":   {core0, core1, note, phase},
		"core-1": {core1, note, phase},
		"etcd":   {phase},
	} {
		if got, err := latestEvents(d, of); err != nil || !slices.Equal(got, want) {
			t.Errorf("of %s: %v %q", of, err, got)
		}
	}
	if got, err := latestEvents(recorded(t), "core"); err != nil || len(got) != 0 {
		t.Errorf("before the first: %v %q", err, got)
	}
}

func TestLatestEventsAreTheNewest(t *testing.T) {
	var all []events.Event
	for i := range latestLines + 5 {
		all = append(all, events.Event{Process: "core-0", PID: i + 1, Kind: events.State, To: "ready"})
	}
	got, err := latestEvents(recorded(t, all...), "core-0")
	if err != nil || len(got) != latestLines || !strings.HasSuffix(got[0], " core-0[6] ready") || !strings.HasSuffix(got[latestLines-1], fmt.Sprintf(" core-0[%d] ready", latestLines+5)) {
		t.Errorf("%v, %d lines: %.200q", err, len(got), got)
	}
}

func TestTheLatestLogIsOfOneProcess(t *testing.T) {
	d := recorded(t,
		events.Event{Process: "core-0", PID: 7, Kind: events.State, To: "ready"},
		events.Event{Process: "core-1", PID: 8, Kind: events.State, To: "ready"},
	)
	const (
		zero = "I0102 03:04:05.000000       7 main.go:1] of the first"
		one  = "E0102 03:04:06.000000       8 main.go:1] of the second"
		more = "goroutine 1 [running]:"
	)
	writeLog(t, d, "core", strings.Join([]string{zero, one, more, zero}, "\n")+"\n")
	for of, want := range map[string][]string{
		"core":   {zero, one, more, zero},
		"core-0": {zero, zero},
		"core-1": {one, more}, // what follows without a stamp is its own
		"core-2": nil,
		"etcd":   nil, // it never wrote
	} {
		if got, err := latestLog(d, of); err != nil || !slices.Equal(got, want) {
			t.Errorf("of %s: %v %q", of, err, got)
		}
	}
	if _, err := latestLog(d, "../events"); err == nil {
		t.Error("a name that is none was read")
	}
}

// Of a large log the end is read, and no line that was cut.
func TestTheLatestLogIsItsEnd(t *testing.T) {
	d := recorded(t)
	long := strings.Repeat("x", 1000)
	var b strings.Builder
	for i := range 3 * latestLines {
		fmt.Fprintf(&b, "line %d %s\n", i, long)
	}
	writeLog(t, d, "core", b.String())
	got, err := latestLog(d, "core")
	if err != nil || len(got) < latestBytes/1100 || len(got) > latestLines || !strings.HasPrefix(got[len(got)-1], fmt.Sprintf("line %d ", 3*latestLines-1)) {
		t.Fatalf("%v, %d lines: %.200q", err, len(got), got)
	}
	for _, line := range got {
		if !strings.HasPrefix(line, "line ") {
			t.Errorf("a line was cut: %.50q", line)
		}
	}
	writeLog(t, d, "core", strings.Repeat("short\n", 3*latestLines))
	if got, err := latestLog(d, "core"); err != nil || len(got) != latestLines {
		t.Errorf("%v, %d lines", err, len(got))
	}
}
