package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// healthPoll is how often it is asked who waits.
const healthPoll = 200 * time.Millisecond

// health is what health prints.
type health struct {
	Ready bool `json:"ready"`
	// Phase is empty where no supervisor runs.
	Phase string `json:"phase,omitempty"`
	// Problems are what it is not ready for.
	Problems []string `json:"problems,omitempty"`
}

func (c *command) health() *cobra.Command {
	var (
		output  string
		wait    bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tell by the exit code whether everything is ready, or wait until it is",
		Long: `Tell by the exit code whether everything is ready: 0, or what supervisor status exits with. With --wait it
returns when everything is ready, also where no supervisor runs yet, or after --timeout with the code of the moment.`,
		Example: "  systemctl start triptych && supervisor health --wait --timeout 5m",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show, ok := healthFormats[output]
			if !ok {
				return unknownFormat(output, []string{"json", "yaml"})
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			is, err := c.healthNow(ctx)
			if wait {
				tick := time.NewTicker(healthPoll)
				defer tick.Stop()
				for err != nil && ctx.Err() == nil {
					select {
					case <-tick.C:
						is, err = c.healthNow(cmd.Context())
					case <-ctx.Done():
					}
				}
			}
			return silently(err, show(c.stdout, is))
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	cmd.Flags().BoolVar(&wait, "wait", false, "return when everything is ready")
	addTimeout(cmd, &timeout)
	return cmd
}

var healthFormats = map[string]func(io.Writer, health) error{
	"json": showJSON[health], "yaml": showYAML[health],
	"": func(w io.Writer, is health) error {
		if is.Ready {
			_, err := fmt.Fprintln(w, "ready")
			return err
		}
		for _, problem := range is.Problems {
			fmt.Fprintln(w, "not ready:", problem)
		}
		return nil
	},
}

// healthNow is how it stands, and nil if that is well.
func (c *command) healthNow(ctx context.Context) (health, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	// A directory that is made later is one where nothing runs yet.
	s, err := control.NewClient(datadir.Dir{Root: c.dataDir}.Control()).Status(ctx)
	if err != nil {
		err = c.at(err)
		return health{Problems: []string{err.Error()}}, err
	}
	is := health{Phase: s.Phase, Ready: s.Phase == string(lifecycle.PhaseReady)}
	if is.Ready {
		return is, nil
	}
	is.Problems = append(is.Problems, "the phase is "+s.Phase)
	is.Problems = append(is.Problems, s.Reasons...)
	if s.Etcd.Problem != "" {
		is.Problems = append(is.Problems, "etcd: "+s.Etcd.Problem)
	}
	for _, t := range s.Tiers {
		for _, r := range t.Replicas {
			if r.Stage == string(tier.Ready) || r.Stage == string(lifecycle.Held) || r.Remote {
				continue
			}
			problem := fmt.Sprintf("%s is at stage %q", r.Name, r.Stage)
			if r.LastExit != nil && r.LastExit.Reason != "" {
				problem += ", and ended before: " + r.LastExit.Reason
			}
			is.Problems = append(is.Problems, problem)
		}
	}
	return is, phaseError{lifecycle.Phase(s.Phase)}
}
