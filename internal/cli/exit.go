package cli

import (
	"errors"
	"fmt"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// Exit codes of the supervisor's commands. docs/reference/exit-codes.md explains them to
// users.
const (
	// ExitOK: done; for status: Ready.
	ExitOK = 0
	// ExitFailure: failed, and trying again may go better.
	ExitFailure = 1
	// ExitDiffers: what is configured is not what is in force.
	ExitDiffers = 3
	// ExitForced: run stopped as asked, but a process had to be killed.
	ExitForced = 4
	// ExitRolledBack: an upgrade failed, and all is as it was before.
	ExitRolledBack = 5
	// ExitStarting, ExitDegraded and ExitStopping are phases told by status.
	ExitStarting = 10
	ExitDegraded = 11
	ExitStopping = 12
	// ExitConfiguration: the command line, the configuration file, a certificate
	// or the data directory is wrong; trying again cannot help.
	ExitConfiguration = process.ExitConfiguration
	// ExitNotRunning: no supervisor is running on the data directory.
	ExitNotRunning = 69
	// ExitOrphaned: a child ended because its supervisor is gone.
	ExitOrphaned = process.ExitOrphaned
)

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// phaseError makes status exit with the code of a phase, silently: what there
// is to say was printed.
type phaseError struct{ phase lifecycle.Phase }

func (e phaseError) Error() string { return "the phase is " + string(e.phase) }

// gapError makes security exit with ExitFailure, silently.
type gapError struct{ gaps int }

func (e gapError) Error() string { return fmt.Sprintf("%d gaps", e.gaps) }

// differsError makes config diff and reload exit with ExitDiffers, silently.
type differsError struct{}

func (differsError) Error() string { return "the configuration differs from what is in force" }

// saidError is an error that was printed already.
type saidError struct{ error }

func (e saidError) Unwrap() error { return e.error }

// silently returns err as one that was printed, unless the printing failed.
func silently(err, printing error) error {
	if err == nil || printing != nil {
		return printing
	}
	return saidError{err}
}

func isSilent(err error) bool {
	return errors.As(err, &phaseError{}) || errors.As(err, &gapError{}) || errors.As(err, &differsError{}) || errors.As(err, &saidError{})
}

func exitCode(err error) int {
	var (
		forced *supervisor.ForcedError
		failed *supervisor.FailedError
		phase  phaseError
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &phase):
		return phaseCode(phase.phase)
	case errors.As(err, &differsError{}):
		return ExitDiffers
	case errors.As(err, &forced):
		return ExitForced
	case errors.As(err, &failed) && !failed.Exit.Hopeless:
		return ExitFailure
	case errors.As(err, &failed), errors.As(err, &usageError{}), errors.As(err, &process.ConfigurationError{}), errors.As(err, &control.RefusedError{}):
		return ExitConfiguration
	case errors.As(err, &control.RolledBackError{}):
		return ExitRolledBack
	case errors.Is(err, control.ErrNotRunning):
		return ExitNotRunning
	}
	return ExitFailure
}

func phaseCode(phase lifecycle.Phase) int {
	switch phase {
	case lifecycle.PhaseReady:
		return ExitOK
	case lifecycle.PhaseStarting:
		return ExitStarting
	case lifecycle.PhaseDegraded:
		return ExitDegraded
	case lifecycle.PhaseStopping:
		return ExitStopping
	}
	return ExitFailure
}
