package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

// client returns a client of the supervisor that runs on the data directory.
func (c *command) client() (*control.Client, error) {
	d, err := c.dir()
	if err != nil {
		return nil, err
	}
	return control.NewClient(d.Control()), nil
}

// ask has the supervisor that runs on the data directory do something, within timeout; 0 is no bound.
func (c *command) ask(cmd *cobra.Command, timeout time.Duration, do func(context.Context, *control.Client) error) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := contextWithin(cmd, timeout)
	defer cancel()
	return c.at(do(ctx, client))
}

// at adds to ErrNotRunning where nothing is running.
func (c *command) at(err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		return fmt.Errorf("%w on %s", err, c.dataDir)
	}
	return err
}

// contextWithin bounds the command; 0 is no bound.
func contextWithin(cmd *cobra.Command, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return context.WithCancel(cmd.Context())
	}
	return context.WithTimeout(cmd.Context(), timeout)
}

func addOutput(cmd *cobra.Command, output *string, formats ...string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "format: one of "+join(formats))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func addTimeout(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", 0, "give up waiting after this time; 0 waits as long as it takes")
}
