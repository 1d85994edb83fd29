package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor"
	"triptych.dev/triptych/internal/tier"
)

func (c *command) restart() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "restart TIER",
		Short: "Replace the processes of one tier, one at a time",
		Long: `Replace the processes of one tier, one at a time: each stops, gracefully, when a new
one is ready in its place, so no request fails. TIER is ` + join(children()) + `,
as far as the supervisor runs them, or one replica, such as core-0. etcd stops first and is
then started again; its callers wait.`,
		ValidArgsFunction: c.completeRunning(),
		Args: func(cmd *cobra.Command, args []string) error {
			return oneOf(c.replaceable(cmd.Context()))(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd, timeout, func(ctx context.Context, client *control.Client) error { return client.Restart(ctx, args[0]) })
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
	s := c.asked(ctx)
	if s == nil {
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

// tiers are those that run, none if no supervisor answers.
func (c *command) tiers(ctx context.Context) []control.Tier {
	s := c.asked(ctx)
	if s == nil {
		return nil
	}
	return s.Tiers
}

// replaceable are the names of what runs and of all replicas.
func (c *command) replaceable(ctx context.Context) []string {
	names := c.running(ctx)
	for _, t := range c.tiers(ctx) {
		for _, r := range t.Replicas {
			names = append(names, r.Name)
		}
	}
	return names
}

// asked is what the supervisor says of itself, or nil.
func (c *command) asked(ctx context.Context) *control.Status {
	client, err := c.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := client.Status(ctx)
	if err != nil {
		return nil
	}
	return s
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
