package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/supervisor"
	"triptych.dev/triptych/internal/tier"
)

func (c *command) restart() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "restart TIER",
		Short: "Restart one tier and wait until it is ready again",
		Long: `Stop one tier gracefully, start it again and wait until it is ready. The others
go on, and its callers wait. TIER is ` + join(children()) + `,
as far as the supervisor runs them.`,
		ValidArgsFunction: c.completeRunning(),
		Args: func(cmd *cobra.Command, args []string) error {
			return oneOf(c.running(cmd.Context()))(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			return c.at(client.Restart(ctx, args[0]))
		},
	}
	c.addDataDir(cmd)
	addTimeout(cmd, &timeout)
	return cmd
}

// askTimeout bounds a question that has an answer good enough without.
const askTimeout = time.Second

// running are the names of what the supervisor on the data directory runs, or
// of what one may run if none answers.
func (c *command) running(ctx context.Context) []string {
	client, err := c.client()
	if err != nil {
		return children()
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := client.Status(ctx)
	if err != nil {
		return children()
	}
	var names []string
	for _, t := range s.Tiers {
		names = append(names, t.Name)
	}
	if s.Etcd.Embedded {
		names = append(names, supervisor.Etcd)
	}
	return names
}

// completeRunning completes one argument, out of what runs and more.
func (c *command) completeRunning(more ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return append(c.running(cmd.Context()), more...), cobra.ShellCompDirectiveNoFileComp
	}
}

// children are the names of all that a supervisor may run: with core as the
// head there is no aggregator, with an etcd of the user's none of ours.
func children() []string {
	names := []string{}
	for _, name := range slices.Backward(tier.Order) {
		names = append(names, string(name))
	}
	return append(names, supervisor.Etcd)
}

func join(names []string) string { return strings.Join(names, ", ") }

// oneOf demands exactly one argument, out of names.
func oneOf(names []string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("want one of %s", join(names))}
		}
		return known(args[0], names)
	}
}

func known(name string, names []string) error {
	if !slices.Contains(names, name) {
		return usageError{fmt.Errorf("unknown tier %q: want one of %s", name, join(names))}
	}
	return nil
}
