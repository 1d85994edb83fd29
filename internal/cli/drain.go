package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

func (c *command) drain() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain REPLICA",
		Short: "Take one process of several out, when it has answered everything",
		Long: `Take one process out, such as core-1: the others are sent what it would be, it answers what it has, and is gone.
The last one of a tier that runs stays (exit code 64). supervisor scale brings back as many as there were. To take
a whole tier out on purpose, and back in later, use supervisor stop TIER and supervisor start TIER.`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.replicas(cmd), cobra.ShellCompDirectiveNoFileComp
		},
		Args: func(cmd *cobra.Command, args []string) error {
			names := c.replicas(cmd)
			if len(args) == 1 && slices.Contains(children(), args[0]) {
				names = append(names, args[0]) // it is the supervisor's to say what is meant
			}
			return oneOf(names)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd, timeout, func(ctx context.Context, client *control.Client) error { return client.Drain(ctx, args[0]) })
		},
	}
	c.addDataDir(cmd)
	addTimeout(cmd, &timeout)
	return cmd
}

// replicas are the names of those of this host.
func (c *command) replicas(cmd *cobra.Command) []string {
	names := []string{}
	for _, t := range c.tiers(cmd.Context()) {
		for _, r := range t.Replicas {
			if !r.Remote {
				names = append(names, r.Name)
			}
		}
	}
	if len(names) == 0 { // it is the supervisor's to say that it does not run
		for _, name := range children() {
			names = append(names, name+"-0")
		}
	}
	return names
}
