// Package cli is the command line of the supervisor: one file a command.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/version"
)

// command is what all commands share.
type command struct {
	stdout, stderr io.Writer
	dataDir        string
	// args are the whole command line.
	args []string
}

// Run runs the command line args, without the program's name, and returns the
// exit code. An error is one line on stderr.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &command{stdout: stdout, stderr: stderr, args: args}
	root := c.root()
	root.SetArgs(args)
	err := mistake(root.ExecuteContext(ctx))
	if err != nil && !isSilent(err) {
		fmt.Fprintf(stderr, "error: %s\n", oneLine(err))
	}
	return exitCode(err)
}

// mistake marks what cobra finds wrong before any command of ours runs, and has
// no type for.
func mistake(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") {
		return usageError{err}
	}
	return err
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "supervisor",
		Short: "Runs a Kubernetes API server as three processes",
		Long: `Runs a Kubernetes API server as three processes: the aggregator, core and
extensions, with an etcd beside them unless you bring your own.`,
		Version:           version.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{options.Explain(cmd.Flags(), err)}
	})
	root.AddCommand(c.run(), c.status(), c.top(), c.security(), c.stop(), c.start(), c.restart(), c.scale(), c.upgrade(), c.config(), c.reload(), c.joinToken(), c.join(), c.certs(), c.snapshot(), c.migrate(), c.logs(), c.supportBundle(), c.kubeconfig(), c.token(), c.sshKey(), c.version(), c.etcd())
	root.AddCommand(c.install(), c.uninstall(), c.doctor(), c.health(), c.drain())
	root.AddCommand(c.events(), c.trace(), c.why(), c.dashboard(), c.documents())
	return root
}

// addDataDir adds the flag by which all commands but run find the supervisor.
func (c *command) addDataDir(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.dataDir, "data-dir", options.DefaultDataDir, "the supervisor's data directory")
	_ = cmd.MarkFlagDirname("data-dir")
}

// dir returns the data directory, which must exist.
func (c *command) dir() (datadir.Dir, error) {
	d := datadir.Dir{Root: c.dataDir}
	if _, err := os.Stat(d.Run()); err != nil {
		return d, usageError{fmt.Errorf("%s is no data directory of a supervisor: name it by --data-dir", c.dataDir)}
	}
	return d, nil
}

// oneLine puts an error of several, each on a line of its own, on one.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
