package cli

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

var codes = map[string]int{
	"OK": ExitOK, "Failure": ExitFailure, "Differs": ExitDiffers, "Forced": ExitForced, "RolledBack": ExitRolledBack,
	"Starting": ExitStarting, "Degraded": ExitDegraded, "Stopping": ExitStopping,
	"Configuration": ExitConfiguration, "NotRunning": ExitNotRunning, "Orphaned": ExitOrphaned,
}

var tierCodes = map[string]int{
	"OK": 0, "Failure": process.ExitFailure, "Configuration": process.ExitConfiguration,
	"Orphaned": process.ExitOrphaned, "Terminated": process.ExitTerminated,
}

// TestTheDocumentIsRight compares docs/reference/exit-codes.md and the constants of this
// package, both ways.
func TestTheDocumentIsRight(t *testing.T) {
	document, err := os.ReadFile("../../docs/reference/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs, _ := strings.Cut(string(document), "## core, extensions")
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (\w+) \|`)
	documented := map[string]int{}
	for _, m := range row.FindAllStringSubmatch(mine, -1) {
		documented[m[2]], _ = strconv.Atoi(m[1])
	}
	for name, code := range codes {
		if got, ok := documented[name]; !ok || got != code {
			t.Errorf("%s is %d, in the document %d", name, code, got)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("the document has %s, which no command exits with", name)
	}
	for _, m := range row.FindAllStringSubmatch(theirs, -1) {
		code, ok := tierCodes[m[2]]
		if !ok || strconv.Itoa(code) != m[1] {
			t.Errorf("%s is %d, in the document of the tiers %s", m[2], code, m[1])
		}
	}
}

func TestEveryConstantIsInTheTest(t *testing.T) {
	source, err := os.ReadFile("exit.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\tExit(\w+)\s+=`).FindAllStringSubmatch(string(source), -1) {
		if _, ok := codes[m[1]]; !ok {
			t.Errorf("Exit%s is in no test", m[1])
		}
	}
}

func TestErrorsHaveTheirCodes(t *testing.T) {
	hopeless := &supervisor.FailedError{Child: "core", Exit: lifecycle.Exit{Code: 64, Hopeless: true}}
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, ExitOK},
		{errors.New("anything"), ExitFailure},
		{usageError{errors.New("no such flag")}, ExitConfiguration},
		{fmt.Errorf("around: %w", process.ConfigurationError{Err: errors.New("no such file")}), ExitConfiguration},
		{hopeless, ExitConfiguration},
		{&supervisor.FailedError{Child: "etcd", Exit: lifecycle.Exit{Code: 1}}, ExitFailure},
		{&supervisor.ForcedError{Children: []string{"core"}}, ExitForced},
		{fmt.Errorf("around: %w", control.ErrNotRunning), ExitNotRunning},
		{differsError{}, ExitDiffers},
		{silently(usageError{errors.New("no such setting")}, nil), ExitConfiguration},
		{phaseError{lifecycle.PhaseReady}, ExitOK},
		{phaseError{lifecycle.PhaseStarting}, ExitStarting},
		{phaseError{lifecycle.PhaseDegraded}, ExitDegraded},
		{phaseError{lifecycle.PhaseStopping}, ExitStopping},
	} {
		if got := exitCode(c.err); got != c.code {
			t.Errorf("%v: %d, want %d", c.err, got, c.code)
		}
	}
}
