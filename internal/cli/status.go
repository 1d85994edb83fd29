package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// statusTimeout bounds the question: a supervisor that does not answer is one
// to tell of.
const statusTimeout = 10 * time.Second

func (c *command) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the phase and every process",
		Long: `Show the phase and every process. Exits with 0 only if the phase is Ready, with
10 if it is Starting, 11 Degraded, 12 Stopping, and with 69 if no supervisor is
running on the data directory.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.showStatus(cmd, output) },
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml", "wide")
	return cmd
}

func (c *command) showStatus(cmd *cobra.Command, output string) error {
	show, ok := statusFormats[output]
	if !ok {
		return usageError{fmt.Errorf("--output=%s is not known: want json, yaml or wide", output)}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := contextWithin(cmd, statusTimeout)
	defer cancel()
	s, err := client.Status(ctx)
	if err != nil {
		return c.at(err)
	}
	if err := show(c.stdout, s); err != nil {
		return err
	}
	if phase := lifecycle.Phase(s.Phase); phase != lifecycle.PhaseReady {
		return phaseError{phase}
	}
	return nil
}

var statusFormats = map[string]func(io.Writer, *control.Status) error{
	"":     func(w io.Writer, s *control.Status) error { return showTable(w, s, false) },
	"wide": func(w io.Writer, s *control.Status) error { return showTable(w, s, true) },
	"json": showJSON[*control.Status],
	"yaml": showYAML[*control.Status],
}

func showJSON[T any](w io.Writer, v T) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func showYAML[T any](w io.Writer, v T) error {
	data, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

func showTable(w io.Writer, s *control.Status, wide bool) error {
	fmt.Fprintf(w, "Phase: %s\nURL:   %s\n", s.Phase, s.SecureURL)
	if s.InsecureURL != "" {
		fmt.Fprintf(w, "Plain: %s\n", s.InsecureURL)
	}
	if s.Etcd.Embedded {
		fmt.Fprintf(w, "Etcd:  pid %d\n", s.Etcd.PID)
		if s.Etcd.Problem != "" {
			fmt.Fprintf(w, "       %s\n", s.Etcd.Problem)
		}
	} else {
		fmt.Fprintln(w, "Etcd:  your own")
	}
	if len(s.Etcd.Extensions) > 0 {
		fmt.Fprintf(w, "       for custom resources %s\n", strings.Join(s.Etcd.Extensions, ","))
	}
	for _, tier := range s.Tiers {
		for _, r := range tier.Replicas {
			if r.Tunnels != nil {
				fmt.Fprintln(w, "SSH:  ", tunnels(r.Tunnels))
			}
		}
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	header := "REPLICA\tPID\tSTAGE\tRESTARTS\tAGE\tRSS"
	if wide {
		header += "\tYIELDS BY\tMEMORY LIMIT\tADDRESS\tLAST EXIT"
	}
	fmt.Fprintln(t, header)
	for _, tier := range s.Tiers {
		for _, r := range tier.Replicas {
			fmt.Fprintln(t, row(r, wide))
		}
	}
	return t.Flush()
}

func tunnels(t *control.Tunnels) string {
	if t.Problem != "" {
		return t.Problem
	}
	return fmt.Sprintf("tunnels to nodes: %d up, %d connecting, %d down; synced with the nodes %.0f s ago", t.Up, t.Connecting, t.Down, t.SyncAgeSeconds)
}

func row(r control.Replica, wide bool) string {
	age := "-"
	if r.StartedAt != nil && r.PID != 0 {
		age = time.Since(*r.StartedAt).Round(time.Second).String()
	}
	s := fmt.Sprintf("%s\t%d\t%s\t%d\t%s\t%d MiB", r.Name, r.PID, r.Stage, r.Restarts, age, r.RSSBytes>>20)
	if wide {
		s += "\t" + cmp.Or(r.CPU, "-") + "\t" + memoryLimit(r) + "\t" + r.Address + "\t" + lastExit(r.LastExit)
	}
	return s
}

func memoryLimit(r control.Replica) string {
	if r.MemoryLimitBytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%d MiB by %s", r.MemoryLimitBytes>>20, r.MemoryLimitBy)
}

func lastExit(e *control.Exit) string {
	if e == nil {
		return "-"
	}
	how := fmt.Sprintf("code %d", e.Code)
	if e.Signal != "" {
		how = e.Signal
	}
	return fmt.Sprintf("%s at %s: %s", how, e.Time.Local().Format(time.DateTime), e.Reason)
}
