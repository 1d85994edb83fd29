package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"triptych.dev/triptych/internal/cli/screen"
	"triptych.dev/triptych/internal/supervisor/vitals"
)

// shortestInterval keeps a mistaken --interval from keeping the processes busy with being asked.
const shortestInterval = 100 * time.Millisecond

func (c *command) top() *cobra.Command {
	var (
		output   string
		interval time.Duration
		once     bool
	)
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what each process does at the moment, on a screen that goes on",
		Long: `Show what each process does at the moment: requests, latencies, watches, CPU, memory, restarts. Without a terminal, with
--once and with --output it prints one sample, whose rates are those of one --interval, and exits with 0.`,
		Example: "  supervisor top --data-dir ./data\n  supervisor top --once --interval 10s -o json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show, ok := topFormats[output]
			if !ok {
				return unknownFormat(output, []string{"json", "yaml"})
			}
			if interval < shortestInterval {
				return usageError{fmt.Errorf("--interval=%s is too short: want %s or more", interval, shortestInterval)}
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			sampler := vitals.NewSampler(client)
			if output == "" && !once && c.onScreen() {
				return c.topScreen(cmd.Context(), sampler, interval)
			}
			s, err := oneSample(cmd.Context(), sampler, interval)
			if err != nil {
				return c.at(err)
			}
			return show(c, s)
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	cmd.Flags().DurationVarP(&interval, "interval", "i", 2*time.Second, "how often to look, and of which time rates are")
	cmd.Flags().BoolVar(&once, "once", false, "print one sample, also to a terminal")
	return cmd
}

var topFormats = map[string]func(*command, vitals.Sample) error{
	"":     func(c *command, s vitals.Sample) error { return screen.Table(c.stdout, s) },
	"json": func(c *command, s vitals.Sample) error { return showJSON(c.stdout, s) },
	"yaml": func(c *command, s vitals.Sample) error { return showYAML(c.stdout, s) },
}

// onScreen tells whether a full screen can be shown: standard output is a terminal that can move its cursor.
func (c *command) onScreen() bool {
	file, ok := c.stdout.(*os.File)
	kind := os.Getenv("TERM")
	return ok && term.IsTerminal(int(file.Fd())) && kind != "" && kind != "dumb"
}

func (c *command) topScreen(ctx context.Context, sampler *vitals.Sampler, interval time.Duration) error {
	d, err := c.dir()
	if err != nil {
		return err
	}
	first, err := sampleWithin(ctx, sampler)
	if err != nil { // who has nothing to look at is told at once
		return c.at(err)
	}
	return screen.Run(ctx, c.stdout, screen.Options{
		Sampler: sampler, Interval: interval, First: first, Explain: c.at,
		Events: func(of string) ([]string, error) { return latestEvents(d, of) },
		Logs:   func(of string) ([]string, error) { return latestLog(d, of) },
	})
}

func sampleWithin(ctx context.Context, sampler *vitals.Sampler) (vitals.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return sampler.Sample(ctx)
}

// oneSample takes two, because the first has no rates.
func oneSample(ctx context.Context, sampler *vitals.Sampler, interval time.Duration) (vitals.Sample, error) {
	if _, err := sampleWithin(ctx, sampler); err != nil {
		return vitals.Sample{}, err
	}
	select {
	case <-time.After(interval):
	case <-ctx.Done():
		return vitals.Sample{}, ctx.Err()
	}
	return sampleWithin(ctx, sampler)
}
