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
stops it fast, a third kills it. SIGHUP is supervisor reload.

Flags of kube-apiserver that are not listed here go to the tiers that know them, such as --feature-gates or --v.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Load(); err != nil {
				return usageError{err}
			}
			return c.supervise(o, cmd)
		},
	}
	o.AddFlags(cmd.Flags())
	_ = cmd.MarkFlagDirname("data-dir")
	_ = cmd.MarkFlagDirname("bin-dir")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json")
	return cmd
}

func (c *command) supervise(o *options.Options, cmd *cobra.Command) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the supervisor's own program: %w", err)
	}
	// A reader that goes away must not take the API server along, which is what
	// SIGPIPE does to who ignores nothing.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	reload := make(chan os.Signal, 1) // those that come meanwhile are one
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	_, args, err := cmd.Root().Find(c.args)
	if err != nil {
		return err
	}
	return supervisor.Run(o, supervisor.Environment{
		Executable: executable, Environ: os.Environ(), Signals: signals, Stdout: c.stdout,
		Reload: reload, Reread: func() (*options.Options, error) { return reread(args) },
	})
}

// reread makes options of the same command line again.
func reread(args []string) (*options.Options, error) {
	o, err := options.Parse(args)
	if err != nil {
		return nil, err
	}
	return o, o.Load()
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments: %q is one too many", cmd.CommandPath(), args[0])}
	}
	return nil
}
