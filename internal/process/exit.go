package process

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes of a tier's process. The supervisor tells by them whether
// restarting can help.
const (
	// ExitFailure: the process failed; another life may go better.
	ExitFailure = 1
	// ExitConfiguration: flags, files or wiring are wrong (EX_USAGE of
	// sysexits.h). Restarting cannot help, so the supervisor does not.
	ExitConfiguration = 64
	// ExitOrphaned: the supervisor is gone (EX_SOFTWARE).
	ExitOrphaned = 70
	// ExitTerminated: told to stop before it was ever ready, as a shell tells of
	// SIGTERM. A program that is none of ours ends at once with 0, which the
	// supervisor does not take for a reason to start it again.
	ExitTerminated = 143
)

// ConfigurationError is a mistake in what the process was given.
type ConfigurationError struct{ Err error }

func (e ConfigurationError) Error() string { return e.Err.Error() }
func (e ConfigurationError) Unwrap() error { return e.Err }

// Main runs cmd and returns the exit code. An error is one line on stderr that
// starts with "error:", which the supervisor repeats to its user.
func Main(cmd *cobra.Command, args []string, stderr io.Writer) int {
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return ConfigurationError{err} })
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return ConfigurationError{err}
			}
			return nil
		}
	}
	err := cmd.Execute()
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return ExitTerminated // only a signal cancels
	}
	fmt.Fprintf(stderr, "error: %s: %s\n", cmd.Name(), oneLine(err))
	if errors.As(err, &ConfigurationError{}) {
		return ExitConfiguration
	}
	return ExitFailure
}

func oneLine(err error) string {
	b := []byte(err.Error())
	for i, c := range b {
		if c == '\n' || c == '\r' {
			b[i] = ' '
		}
	}
	return string(b)
}
