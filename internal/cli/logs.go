package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/nxadm/tail"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/logline"
)

// supervisorLog is the name of the supervisor's own log.
const supervisorLog = "supervisor"

func (c *command) logs() *cobra.Command {
	var follow bool
	names := append(children(), supervisorLog)
	cmd := &cobra.Command{
		Use:   "logs [TIER]",
		Short: "Print the log of one tier, or of all",
		Long: `Print the log of one tier, or of all with their names before each line. TIER is
` + join(names) + `. Works whether or not
a supervisor is running.`,
		ValidArgsFunction: c.completeRunning(supervisorLog),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneOf(names)(nil, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := c.dir()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return c.printLogs(cmd.Context(), d, names, true, follow)
			}
			return c.printLogs(cmd.Context(), d, args, false, follow)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on")
	return cmd
}

func (c *command) printLogs(ctx context.Context, d datadir.Dir, names []string, prefixed, follow bool) error {
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	if !follow {
		group.SetLimit(1) // one log after the other
	}
	for _, name := range names {
		prefix := ""
		if prefixed {
			prefix = fmt.Sprintf("%-10s | ", name)
		}
		group.Go(func() error { return c.printLog(ctx, d.LogFile(name), prefix, follow, &mu) })
	}
	return group.Wait()
}

// printLog goes on with the new file when the log is rotated.
func (c *command) printLog(ctx context.Context, path, prefix string, follow bool, mu *sync.Mutex) error {
	if _, err := os.Stat(path); !follow && errors.Is(err, fs.ErrNotExist) {
		return nil // that process never ran
	}
	t, err := tail.TailFile(path, tail.Config{Follow: follow, ReOpen: follow, Logger: tail.DiscardingLogger})
	if err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	defer t.Cleanup()
	for {
		select {
		case line, more := <-t.Lines:
			if !more {
				return t.Wait() // Err would race with the end
			}
			mu.Lock()
			said := line.Text
			if !strings.HasPrefix(said, logline.Prefix) { // an object says itself whose it is
				said = prefix + said
			}
			_, err := io.WriteString(c.stdout, said+"\n")
			mu.Unlock()
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return t.Stop()
		}
	}
}
