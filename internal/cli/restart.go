package cli

import (
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
go on, and its callers wait. TIER is ` + join(children()) + `.`,
		ValidArgs: children(),
		Args:      oneOf(children()),
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

// children are the names of what the supervisor runs.
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
