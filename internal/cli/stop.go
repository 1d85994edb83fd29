package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

func (c *command) stop() *cobra.Command {
	var (
		now     bool
		output  string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "stop [TIER|REPLICA]",
		Short: "Stop the supervisor and all its processes, or one tier until start",
		Long: `Stop the supervisor and all its processes in order, and return when all are gone.
That none is running is a success.

With a TIER, or a REPLICA such as core-1, stop its processes alone, gracefully, and return when they are
gone. The supervisor and all others go on. It stays stopped, whatever happens, until supervisor start; a new
start of the supervisor starts everything. Requests for it are answered 503 with Retry-After; a stopped head has
its port refuse connections. The phase is Degraded meanwhile, and status says why. That it is stopped already
is a success. etcd cannot be stopped alone.`,
		Example:           "  supervisor stop\n  supervisor stop extensions",
		ValidArgsFunction: c.completeReplicas(),
		Args:              c.atMostOneOf,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if now {
					return usageError{errors.New("--now is for a stop of everything: a tier is always stopped gracefully")}
				}
				return c.stand(cmd, output, timeout, func(ctx context.Context, client *control.Client) ([]control.Standing, error) {
					return client.StopTier(ctx, args[0])
				})
			}
			if output != "" {
				return usageError{errors.New("--output is for a stop of a tier or replica")}
			}
			err := c.ask(cmd, timeout, func(ctx context.Context, client *control.Client) error { return client.Stop(ctx, now) })
			if errors.Is(err, control.ErrNotRunning) {
				fmt.Fprintln(c.stdout, err)
				return nil
			}
			return err
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	cmd.Flags().BoolVar(&now, "now", false, "do not let requests in flight finish")
	addTimeout(cmd, &timeout)
	return cmd
}

func (c *command) start() *cobra.Command {
	var (
		output  string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "start TIER|REPLICA",
		Short: "Start a tier that was stopped",
		Long: `Start a tier, or one of its replicas, that supervisor stop has stopped, and return when it is ready. That it
runs already is a success. supervisor run starts the supervisor itself.`,
		Example:           "  supervisor start extensions",
		ValidArgsFunction: c.completeReplicas(),
		Args: func(cmd *cobra.Command, args []string) error {
			return oneOf(c.replaceable(cmd.Context()))(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.stand(cmd, output, timeout, func(ctx context.Context, client *control.Client) ([]control.Standing, error) {
				return client.StartTier(ctx, args[0])
			})
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	addTimeout(cmd, &timeout)
	return cmd
}

// stand has a tier or replica stopped or started, and prints how it stands then.
func (c *command) stand(cmd *cobra.Command, output string, timeout time.Duration, do func(context.Context, *control.Client) ([]control.Standing, error)) error {
	show, ok := standingFormats[output]
	if !ok {
		return unknownFormat(output, []string{"json", "yaml"})
	}
	var all []control.Standing
	err := c.ask(cmd, timeout, func(ctx context.Context, client *control.Client) (err error) {
		all, err = do(ctx, client)
		return err
	})
	if err != nil {
		return err
	}
	return show(c.stdout, all)
}

var standingFormats = map[string]func(io.Writer, []control.Standing) error{
	"json": showJSON[[]control.Standing], "yaml": showYAML[[]control.Standing],
	"": func(w io.Writer, all []control.Standing) error {
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		for _, is := range all {
			line := is.Name + "\t" + is.Stage
			if !is.Changed {
				line += "\t(as before)"
			}
			fmt.Fprintln(t, line)
		}
		return t.Flush()
	},
}

// atMostOneOf allows the name of what runs, or none.
func (c *command) atMostOneOf(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return oneOf(c.replaceable(cmd.Context()))(cmd, args)
}

// completeReplicas completes one tier or replica.
func (c *command) completeReplicas() cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.replaceable(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
}
