package cli

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/etcd"
)

// etcd is what the supervisor runs its own program with to have an etcd, and for
// users the place of what one does with it.
func (c *command) etcd() *cobra.Command {
	o := etcd.Options{}
	cmd := &cobra.Command{
		Use:   "etcd",
		Short: "Look after the etcd that the supervisor runs",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().NFlag() == 0 {
				return cmd.Help()
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return etcd.Run(ctx, o)
		},
	}
	o.AddFlags(cmd.Flags())
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	cmd.AddCommand(c.compact(), c.moveExtensions(), c.etcdRoles(), c.etcdAuth())
	return cmd
}

func (c *command) compact() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Make room in etcd, and have it take writes again if it was full",
		Long: `Forget the history of all keys, give what it took back to the disk, and disarm
the alarm NOSPACE if there is room then. What exists stays. Requests wait for
seconds with each GiB in use, and watches that lag behind begin anew.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			return c.compactEtcd(ctx)
		},
	}
	c.addDataDir(cmd)
	addTimeout(cmd, &timeout)
	return cmd
}

func (c *command) compactEtcd(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	done, err := client.CompactEtcd(ctx)
	if err != nil {
		return c.at(err)
	}
	fmt.Fprintf(c.stdout, "etcd: %s before, %s now\n", done.Before, done.After)
	if done.Full {
		return fmt.Errorf("etcd is full still, writes are refused: delete what is not needed and compact again, or start with a larger --etcd-quota-backend-bytes")
	}
	return nil
}
