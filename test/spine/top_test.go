package spine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// Without a terminal, as in a script.
func TestTopPrintsOneSample(t *testing.T) {
	c := harness.Shared(t)
	stdout, stderr, code := c.Supervisor(t.Context(), "top", "--interval=200ms")
	for _, want := range []string{"Ready", "REQ/S", "aggregator-0", "core-0", "extensions-0", "etcd"} {
		if code != 0 || !strings.Contains(stdout, want) || strings.Contains(stdout, "\x1b") {
			t.Fatalf("exit code %d, no %s or more than text: %s%s", code, want, stdout, stderr)
		}
	}
	stdout, stderr, code = c.Supervisor(t.Context(), "top", "--interval=200ms", "-o", "json")
	var sample struct {
		Time  time.Time
		Phase string
		Etcd  struct{ SizeBytes, MemoryBytes int64 }
		Tiers []struct {
			Name     string
			Replicas []struct {
				Name                         string
				PID                          int
				UptimeSeconds, CPUPercent    *float64
				RequestsPerSecond            *float64
				Watches, OpenFiles, MaxFiles *int64
				MemoryBytes                  int64
				Problem                      string
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &sample); err != nil || code != 0 {
		t.Fatalf("%d %v: %s%s", code, err, stdout, stderr)
	}
	if sample.Phase != "Ready" || len(sample.Tiers) != 3 || sample.Etcd.SizeBytes == 0 || sample.Etcd.MemoryBytes == 0 {
		t.Errorf("%s", stdout)
	}
	for _, tier := range sample.Tiers {
		for _, r := range tier.Replicas {
			if r.PID == 0 || r.UptimeSeconds == nil || r.CPUPercent == nil || r.RequestsPerSecond == nil || r.Watches == nil || r.OpenFiles == nil || r.MaxFiles == nil || r.MemoryBytes == 0 || r.Problem != "" {
				t.Errorf("%s of %s is not known all: %s", r.Name, tier.Name, stdout)
			}
		}
	}
	for _, wrong := range [][]string{{"top", "-o", "xml"}, {"top", "--interval=1ms"}, {"top", "more"}} {
		if _, stderr, code := c.Supervisor(t.Context(), wrong...); code != 64 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v exits with %d: %s", wrong, code, stderr)
		}
	}
}
