package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

// watchPoll is how often it is asked whether anything has changed.
const watchPoll = time.Second

// watchStatus prints the status whenever it is another one, to the end of the supervisor.
func (c *command) watchStatus(cmd *cobra.Command, output string) error {
	show, ok := statusFormats[output]
	if !ok {
		return usageError{fmt.Errorf("--output=%s is not known: want json, yaml or wide", output)}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	var before []string
	for {
		ctx, cancel := contextWithin(cmd, statusTimeout)
		s, err := client.Status(ctx)
		cancel()
		if cmd.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return c.at(err)
		}
		if now := standing(s); !slices.Equal(now, before) {
			if output == "yaml" {
				fmt.Fprintln(c.stdout, "---")
			} else if output != "json" {
				fmt.Fprintf(c.stdout, "--- %s\n", time.Now().Format(time.DateTime))
			}
			if err := show(c.stdout, s); err != nil {
				return err
			}
			before = now
		}
		select {
		case <-tick.C:
		case <-cmd.Context().Done():
			return nil
		}
	}
}

// standing is what of a status is worth printing it again.
func standing(s *control.Status) []string {
	all := []string{s.Phase, s.Etcd.Problem, fmt.Sprint(s.Etcd.PID)}
	if s.Upgrade != nil {
		all = append(all, s.Upgrade.State, s.Upgrade.Step)
	}
	for _, t := range s.Tiers {
		for _, r := range t.Replicas {
			all = append(all, fmt.Sprintln(r.Name, r.PID, r.Stage, r.Restarts, r.Problem))
		}
	}
	return all
}
