package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

const (
	// defaultReadyWithin is far above what a process needs on a busy machine, with a cold
	// disk and some thousand CRDs.
	defaultReadyWithin = 3 * time.Minute
	// defaultSettle is long enough to see a process that dies again and again.
	defaultSettle = 10 * time.Second
)

func (c *command) upgrade() *cobra.Command {
	asked := control.UpgradeRequest{Action: control.UpgradeBegin}
	var rollback, goOn, check bool
	cmd := &cobra.Command{
		Use:   "upgrade (--bin-dir NEW | --continue | --rollback)",
		Short: "Bring all tiers to other programs, one process at a time",
		Long: `Bring all tiers to the programs of another folder while they serve: each process stops
when a new one is ready in its place, so no request fails. The programs are checked
before anything is touched. To a newer minor of Kubernetes it goes in two steps: new
processes emulate the old minor until all are new; only then, and from then on there is
no way back, ones that do not take their places.

If a new process is not ready in time, or dies again and again, all tiers are brought
back to the old programs, and the command exits with 5. Whoever interrupts the command
interrupts nothing else: the supervisor goes on.`,
		Example: `  supervisor upgrade --bin-dir /opt/triptych-2 --hold
  supervisor upgrade --continue     # or --rollback`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := decide(&asked, goOn, rollback, check); err != nil {
				return usageError{err}
			}
			return c.doUpgrade(cmd, asked)
		},
	}
	c.addDataDir(cmd)
	fs := cmd.Flags()
	fs.StringVar(&asked.BinDir, "bin-dir", "", "folder of the new programs")
	fs.BoolVar(&asked.Hold, "hold", false, "stop before the last step, as long as there is a way back")
	fs.BoolVar(&goOn, "continue", false, "take the last step of an upgrade that is held")
	fs.BoolVar(&rollback, "rollback", false, "bring all tiers back to the programs of before, while that is possible")
	fs.BoolVar(&check, "check", false, "only say whether the programs of --bin-dir would do")
	fs.DurationVar(&asked.ReadyWithin, "ready-within", defaultReadyWithin, "how long each new process may take to become ready")
	fs.DurationVar(&asked.Settle, "settle", defaultSettle, "how long all new processes must stay ready before it goes on")
	_ = cmd.MarkFlagDirname("bin-dir")
	return cmd
}

// decide completes what is asked for. A path is made what it is for the supervisor, which
// is in another folder.
func decide(asked *control.UpgradeRequest, goOn, rollback, check bool) error {
	n := 0
	for _, one := range []bool{asked.BinDir != "", goOn, rollback} {
		if one {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("want one of --bin-dir, --continue and --rollback")
	case asked.ReadyWithin <= 0 || asked.Settle < 0:
		return errors.New("--ready-within and --settle are times, such as 3m and 10s")
	case (check || asked.Hold) && asked.BinDir == "":
		return errors.New("--check and --hold go with --bin-dir")
	case goOn:
		asked.Action = control.UpgradeContinue
	case rollback:
		asked.Action = control.UpgradeRollback
	case check:
		asked.Action = control.UpgradeCheck
	}
	if asked.BinDir == "" {
		return nil
	}
	var err error
	asked.BinDir, err = filepath.Abs(asked.BinDir)
	return err
}

func (c *command) doUpgrade(cmd *cobra.Command, asked control.UpgradeRequest) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	following, cancel := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		c.followUpgrade(following, client)
	}()
	done, err := client.Upgrade(ctx, asked)
	interrupted := ctx.Err() != nil
	cancel()
	<-followed
	switch {
	case interrupted:
		return fmt.Errorf("interrupted, and the supervisor goes on: supervisor status --data-dir %[1]s shows how it stands, supervisor upgrade --rollback --data-dir %[1]s goes back", c.dataDir)
	case err != nil:
		return c.at(err)
	}
	for _, line := range done.Lines {
		fmt.Fprintln(c.stdout, line)
	}
	return nil
}

// followUpgrade prints what the supervisor does, until ctx ends.
func (c *command) followUpgrade(ctx context.Context, client *control.Client) {
	const pause = 300 * time.Millisecond
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if s, err := client.Status(ctx); err == nil && s.Upgrade != nil && s.Upgrade.Step != "" && s.Upgrade.Step != last {
			last = s.Upgrade.Step
			fmt.Fprintln(c.stdout, last)
		}
	}
}
