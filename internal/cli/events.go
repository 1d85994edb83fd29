package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/nxadm/tail"
	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/events"
)

func (c *command) events() *cobra.Command {
	var (
		output, since string
		of            []string
		follow        bool
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print every change of a process, and why, also of before a restart",
		Long: `Print every change of state, stage and phase, and why, the oldest first. They are kept in the data directory, some
ten thousand of them, also when the supervisor is started again. Works whether or not one is running.`,
		Example: "  supervisor events --since 1h --tier core\n  supervisor events -f -o json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "json", "yaml"}, output) || follow && output == "yaml" {
				return unknownFormat(output, []string{"json", "yaml without --follow"})
			}
			d, err := c.dir()
			if err != nil {
				return err
			}
			from, err := moment(since)
			if err != nil {
				return err
			}
			wanted := func(e events.Event) bool {
				return !e.Time.Before(from) && (len(of) == 0 || slices.ContainsFunc(of, e.Of))
			}
			if follow {
				return c.followEvents(cmd.Context(), d, output, wanted)
			}
			all, err := events.Read(d.Events())
			if err != nil {
				return err
			}
			return c.showEvents(output, slices.DeleteFunc(all, func(e events.Event) bool { return !wanted(e) }))
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	addSince(cmd, &since)
	cmd.Flags().StringSliceVar(&of, "tier", nil, "only of these: a tier, a replica, etcd or supervisor")
	_ = cmd.RegisterFlagCompletionFunc("tier", c.completeRunning(events.Supervisor))
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on; with -o json an object a line")
	return cmd
}

func addSince(cmd *cobra.Command, since *string) {
	cmd.Flags().StringVar(since, "since", "", "only from then on: a duration such as 10m, or a time such as 2026-01-02T15:04:05Z")
}

// moment reads --since; nothing is the beginning.
func moment(since string) (time.Time, error) {
	if since == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(since); err == nil {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return at, usageError{fmt.Errorf("--since=%s is no duration such as 10m and no time such as 2026-01-02T15:04:05Z", since)}
	}
	return at, nil
}

func (c *command) showEvents(output string, all []events.Event) error {
	switch output {
	case "json":
		return showJSON(c.stdout, append([]events.Event{}, all...))
	case "yaml":
		return showYAML(c.stdout, append([]events.Event{}, all...))
	}
	t := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "TIME\tPROCESS\tPID\tWHAT\tWHY")
	for _, e := range all {
		pid := "-"
		if e.PID != 0 {
			pid = fmt.Sprint(e.PID)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Process, pid, cmp.Or(what(e), "-"), cmp.Or(e.Reason, "-"))
	}
	return t.Flush()
}

// what an event tells, in a few words.
func what(e events.Event) string {
	switch {
	case e.Kind == events.Stage:
		return fmt.Sprintf("stage %s after %s", e.To, time.Duration(e.Seconds*float64(time.Second)).Round(time.Millisecond))
	case e.Kind == events.Phase:
		return "phase " + e.To
	case e.From == "":
		return e.To
	}
	return e.From + " -> " + e.To
}

func (c *command) followEvents(ctx context.Context, d datadir.Dir, output string, wanted func(events.Event) bool) error {
	t, err := tail.TailFile(d.Events(), tail.Config{Follow: true, ReOpen: true, Logger: tail.DiscardingLogger})
	if err != nil {
		return fmt.Errorf("cannot read the events: %w", err)
	}
	defer t.Cleanup()
	for {
		select {
		case line, more := <-t.Lines:
			if !more {
				return t.Wait()
			}
			e, ok := events.Parse([]byte(line.Text))
			if !ok || !wanted(e) {
				continue
			}
			if output == "json" {
				err = json.NewEncoder(c.stdout).Encode(e)
			} else {
				_, err = fmt.Fprintf(c.stdout, "%s  %-12s  %s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Process, what(e), e.Reason)
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return t.Stop()
		}
	}
}
