package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

func (c *command) stop() *cobra.Command {
	var (
		now     bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the supervisor and all its processes",
		Long: `Stop the supervisor and all its processes in order, and return when all are gone.
That none is running is a success.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			err = client.Stop(ctx, now)
			if errors.Is(err, control.ErrNotRunning) {
				fmt.Fprintln(c.stdout, c.at(err))
				return nil
			}
			return err
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().BoolVar(&now, "now", false, "do not let requests in flight finish")
	addTimeout(cmd, &timeout)
	return cmd
}
