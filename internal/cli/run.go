package cli

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/supervisor"
	"triptych.dev/triptych/internal/supervisor/options"
)

func (c *command) run() *cobra.Command {
	o := options.New()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the API server in the foreground",
		Long: `Run the API server in the foreground until SIGTERM or SIGINT. A second signal
stops it fast, a third kills it.

Flags of kube-apiserver that are not listed here are handed to the tiers that
know them, such as --feature-gates, --audit-log-path or --v.`,
		Example: `  supervisor run --data-dir ./data --secure-port 0
  kubectl --kubeconfig ./data/admin.kubeconfig get namespaces`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := o.Load(); err != nil {
				return usageError{err}
			}
			return c.supervise(o)
		},
	}
	o.AddFlags(cmd.Flags())
	_ = cmd.MarkFlagDirname("data-dir")
	_ = cmd.MarkFlagDirname("bin-dir")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json")
	return cmd
}

func (c *command) supervise(o *options.Options) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the supervisor's own program: %w", err)
	}
	// A reader that goes away must not take the API server along, which is what
	// SIGPIPE does to who ignores nothing.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	return supervisor.Run(o, supervisor.Environment{
		Executable: executable, Environ: os.Environ(), Signals: signals, Stdout: c.stdout,
	})
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments: %q is one too many", cmd.CommandPath(), args[0])}
	}
	return nil
}
