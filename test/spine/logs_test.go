package spine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// jsonLines demands that every line is a JSON object which names its process, and
// returns how many there are of each.
func jsonLines(t *testing.T, text string) (lines map[string]int, verbose map[string]bool) {
	t.Helper()
	lines, verbose = map[string]int{}, map[string]bool{}
	for line := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("%v: %.200s", err, line)
			continue
		}
		tier, _ := object["triptych.tier"].(string)
		replica, _ := object["triptych.replica"].(string)
		if !strings.HasPrefix(replica, tier) || tier == "" {
			t.Errorf("a line of %q, %q: %.200s", tier, replica, line)
		}
		lines[tier]++
		if v, _ := object["v"].(float64); v == 4 || object["level"] == "debug" {
			verbose[tier] = true
		}
	}
	return lines, verbose
}

// With --logging-format=json whatever a process says is an object that names it:
// its log, etcd's, what Go prints when a process dies, and what the supervisor
// tells of them. --v counts in each.
func TestEveryLineOfJSONLogsIsAnObject(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{Args: []string{"--logging-format=json", "--v=4"}})
	before := c.WaitReady(t).Replica("extensions").PID
	if err := syscall.Kill(before, syscall.SIGQUIT); err != nil { // Go prints where it was
		t.Fatal(err)
	}
	c.WaitStatus(t, harness.StartBound, "extensions is replaced", func(s harness.Status) bool {
		return s.Phase == "Ready" && s.Replica("extensions").PID != before
	})
	if got := c.Get(t, "/api/v1/namespaces"); got.Code != http.StatusOK {
		t.Errorf("it answers %s", got)
	}
	stdout, stderr, code := c.Supervisor(t.Context(), "logs")
	if code != 0 || stderr != "" {
		t.Errorf("logs exits with %d: %s", code, stderr)
	}
	lines, verbose := jsonLines(t, stdout)
	all := []string{"aggregator", "core", "etcd", "extensions", "supervisor"}
	if got := slices.Sorted(maps.Keys(lines)); !slices.Equal(got, all) {
		t.Errorf("lines are of %v", lines)
	}
	for _, tier := range all[:4] { // the supervisor has nothing to say that often
		if !verbose[tier] {
			t.Errorf("%s says nothing more", tier)
		}
	}
	if !strings.Contains(stdout, "SIGQUIT: quit") {
		t.Error("what Go prints is lost")
	}
	if printed, _ := jsonLines(t, c.Output.String()); printed["supervisor"] == 0 || len(printed) != 1 {
		t.Errorf("the supervisor prints lines of %v", printed)
	}
	if err := c.Output.Contains(fmt.Sprintf("serving %s", c.URL(t))); err != nil {
		t.Error(err)
	}
}
