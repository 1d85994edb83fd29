package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestTheExitCodeTellsWhetherRestartingCanHelp(t *testing.T) {
	misconfigured := ConfigurationError{errors.New("no such file")}
	for name, c := range map[string]struct {
		args []string
		err  error
		code int
		says string
	}{
		"graceful end":              {code: 0},
		"failure":                   {err: errors.New("disk is full"), code: ExitFailure, says: "disk is full"},
		"configuration":             {err: misconfigured, code: ExitConfiguration, says: "no such file"},
		"configuration, wrapped":    {err: fmt.Errorf("cannot start: %w", misconfigured), code: ExitConfiguration, says: "cannot start"},
		"configuration, joined":     {err: errors.Join(errors.New("first"), misconfigured), code: ExitConfiguration, says: "first no such file"},
		"told to stop at the start": {err: fmt.Errorf("cannot wait: %w", context.Canceled), code: ExitTerminated},
		"unknown flag":              {args: []string{"--nonsense"}, code: ExitConfiguration, says: "--nonsense"},
		"a flag's value":            {args: []string{"--count=many"}, code: ExitConfiguration, says: "--count"},
		"an argument":               {args: []string{"surplus"}, code: ExitConfiguration, says: "surplus"},
		"many lines become one":     {err: errors.New("one\ntwo\r\nthree"), code: ExitFailure, says: "one two  three"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := &cobra.Command{Use: "core", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return c.err }}
			cmd.Flags().Int("count", 0, "")
			var stderr bytes.Buffer
			if code := Main(cmd, c.args, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			wantOneLine(t, stderr.String(), c.says)
		})
	}
}

// wantOneLine demands nothing where nothing is to be said, else one line.
func wantOneLine(t *testing.T, got, says string) {
	t.Helper()
	if says == "" {
		if got != "" {
			t.Errorf("said %q, want nothing", got)
		}
		return
	}
	if !strings.HasPrefix(got, "error: core: ") || strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
		t.Errorf("%q is not one line that starts with error: and who says it", got)
	}
	if !strings.Contains(got, says) {
		t.Errorf("%q does not say %q", got, says)
	}
}
