package cli

import (
	"errors"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// Exit codes of the supervisor's commands. docs/exit-codes.md explains them to
// users.
const (
	// ExitOK: done; for status: Ready.
	ExitOK = 0
	// ExitFailure: failed, and trying again may go better.
	ExitFailure = 1
	// ExitForced: run stopped as asked, but a process had to be killed.
	ExitForced = 4
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

func isSilent(err error) bool { return errors.As(err, &phaseError{}) }

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
	case errors.As(err, &forced):
		return ExitForced
	case errors.As(err, &failed) && !failed.Exit.Hopeless:
		return ExitFailure
	case errors.As(err, &failed), errors.As(err, &usageError{}), errors.As(err, &process.ConfigurationError{}):
		return ExitConfiguration
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
