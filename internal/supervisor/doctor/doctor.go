// Package doctor looks at a machine and a data directory for what keeps a supervisor from running well, and
// says what to do about it. It changes nothing.
package doctor

import (
	"context"
	"fmt"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/options"
)

// How grave a finding is.
const (
	// OK is as it should be.
	OK = "ok"
	// Warning: it runs, and not as well or as safely as it could.
	Warning = "warning"
	// Problem: it does not run, or will not for long.
	Problem = "problem"
)

// Finding is what one look has shown.
type Finding struct {
	// Check is what was looked at, such as ports.
	Check string `json:"check"`
	// Level is OK, Warning or Problem.
	Level string `json:"level"`
	// Says is what was found, Remedy what to do about it, empty for OK.
	Says   string `json:"says"`
	Remedy string `json:"remedy,omitempty"`
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: OK, Says: fmt.Sprintf(format, args...)}
}

func warning(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Level: Warning, Says: fmt.Sprintf(format, args...), Remedy: remedy}
}

func problem(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Level: Problem, Says: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Patient is what is looked at.
type Patient struct {
	// Options are those of supervisor run, loaded.
	Options *options.Options
	Dir     datadir.Dir
	// Programs is the folder of the programs.
	Programs string
	// Status is what the supervisor on Dir says, nil if none runs.
	Status *control.Status
}

// Examine makes all checks, the ones of the machine first.
func Examine(ctx context.Context, p Patient) []Finding {
	checks := []func(context.Context, Patient) []Finding{
		kernel, limits, clock, memory, disk, programs, ports, certificates, modes, etcds, running,
	}
	var all []Finding
	for _, check := range checks {
		all = append(all, check(ctx, p)...)
	}
	return all
}

// Worst is the gravest level among findings.
func Worst(all []Finding) string {
	worst := OK
	for _, f := range all {
		if f.Level == Problem || f.Level == Warning && worst == OK {
			worst = f.Level
		}
	}
	return worst
}
