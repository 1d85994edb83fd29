package cli

import (
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/etcd"
)

// etcd is what the supervisor runs its own program with to have an etcd.
func (c *command) etcd() *cobra.Command {
	o := etcd.Options{}
	cmd := &cobra.Command{
		Use:    "etcd",
		Short:  "Run the embedded etcd",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return etcd.Run(ctx, o)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}
