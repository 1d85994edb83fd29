package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/options"
)

func (c *command) scale() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "scale TIER=N...",
		Short: "Change how many processes a tier has",
		Long: fmt.Sprintf(`Change how many processes a tier has, from 1 to %d, while it serves: no request
fails. Returns when all are ready, and those that went have answered everything. It holds
until the supervisor ends; --replicas, or replicas in the configuration file, is for good.`, options.MaxReplicas),
		Example: "  supervisor scale core=3 extensions=2",
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			var all []string
			for _, t := range c.tiers(cmd.Context()) {
				all = append(all, t.Name+"=")
			}
			return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("want TIER=N, such as core=3")}
			}
			_, err := options.ParseReplicas(args)
			return asUsage(err)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			wanted, err := options.ParseReplicas(args)
			if err != nil {
				return err
			}
			counts, running := map[string]int{}, c.running(cmd.Context())
			for name, n := range wanted {
				if !slices.Contains(running, string(name)) {
					return known(string(name), running)
				}
				counts[string(name)] = n
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			if err := client.Scale(ctx, counts); err != nil {
				return c.at(err)
			}
			return c.tellScaled(ctx, client, counts)
		},
	}
	c.addDataDir(cmd)
	addTimeout(cmd, &timeout)
	return cmd
}

// tellScaled says of those that were scaled whether it is for good.
func (c *command) tellScaled(ctx context.Context, client *control.Client, counts map[string]int) error {
	s, err := client.Status(ctx)
	if err != nil {
		return c.at(err)
	}
	for _, t := range s.Tiers {
		if _, named := counts[t.Name]; named && t.Scaled != nil {
			fmt.Fprintln(c.stdout, scaledLine(t))
		}
	}
	return nil
}

func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}
