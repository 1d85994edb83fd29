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
	var (
		output       string
		alive, watch bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the phase and every process",
		Long: `Show the phase and every process. Exits with 0 only if the phase is Ready, with
10 if it is Starting, 11 Degraded, 12 Stopping, and with 69 if no supervisor is
running on the data directory. With --alive every phase is as good as Ready. With --watch it goes on to the end of the
supervisor, and prints whenever anything changes.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return c.watchStatus(cmd, output)
			}
			return c.showStatus(cmd, output, alive)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().BoolVar(&alive, "alive", false, "exit with 0 in every phase: the supervisor answers")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "print again whenever anything changes")
	addOutput(cmd, &output, "json", "yaml", "wide")
	return cmd
}

func (c *command) showStatus(cmd *cobra.Command, output string, alive bool) error {
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
	if phase := lifecycle.Phase(s.Phase); phase != lifecycle.PhaseReady && !alive {
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
	fmt.Fprintf(w, "Phase: %s\n", s.Phase)
	for _, why := range s.Reasons {
		fmt.Fprintf(w, "       %s\n", why)
	}
	fmt.Fprintf(w, "URL:   %s\n", s.SecureURL)
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
	for _, what := range s.Isolation.Missing {
		fmt.Fprintln(w, "Isolation:", what)
	}
	if s.Snapshots != nil {
		fmt.Fprintln(w, "Snapshots:", snapshotLine(s.Snapshots))
	}
	showUpgrade(w, s.Upgrade)
	showCertificates(w, s.Certificates)
	for _, tier := range s.Tiers {
		if tier.Scaled != nil {
			fmt.Fprintln(w, "Scale:", scaledLine(tier))
		}
		for _, r := range tier.Replicas {
			if r.Tunnels != nil {
				fmt.Fprintln(w, "SSH:  ", tunnels(r.Tunnels))
			}
			if r.Problem != "" {
				fmt.Fprintf(w, "Hosts: %s: %s\n", r.Name, r.Problem)
			}
		}
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	header := "REPLICA\tPID\tSTAGE\tRESTARTS\tAGE\tRSS\tVERSION"
	if wide {
		header += "\tPROGRAMS\tYIELDS BY\tCPU LIMIT\tMEMORY LIMIT\tADDRESS\tLAST EXIT"
	}
	fmt.Fprintln(t, header)
	for _, tier := range s.Tiers {
		for _, r := range tier.Replicas {
			fmt.Fprintln(t, row(r, wide))
		}
	}
	return t.Flush()
}

// showUpgrade tells how the last upgrade stands, and what can be done.
func showUpgrade(w io.Writer, u *control.Upgrade) {
	if u == nil {
		return
	}
	if u.State != "" {
		fmt.Fprintf(w, "Upgrade: %s, to %s of %s\n", u.State, u.ToKubernetes, u.To)
	}
	if u.Step != "" {
		fmt.Fprintf(w, "       %s\n", u.Step)
	}
	if u.Problem != "" {
		fmt.Fprintf(w, "       %s\n", u.Problem)
	}
	switch {
	case u.State == "Held" && u.CanRollBack:
		fmt.Fprintf(w, "       emulating %s: supervisor upgrade --continue, or back to %s by --rollback\n", u.Emulates, u.From)
	case u.State == "Held":
		fmt.Fprintf(w, "       emulating %s: supervisor upgrade --continue\n", u.Emulates)
	case u.CanRollBack:
		fmt.Fprintf(w, "       back to %s by supervisor upgrade --rollback\n", u.From)
	}
}

// showCertificates tells when the first of them ends, and of what is wrong.
func showCertificates(w io.Writer, s control.Certificates) {
	if s.FirstEnd != nil {
		renewed := ""
		if s.RenewedAt != nil {
			renewed = fmt.Sprintf(", the next ones are renewed in %s", leftUntil(*s.RenewedAt))
		}
		fmt.Fprintf(w, "Certs: %s ends in %s%s\n", s.First, leftUntil(*s.FirstEnd), renewed)
	}
	if s.RotationStep != "" {
		fmt.Fprintf(w, "       the internal CA is being replaced: supervisor certs rotate-ca --step %s comes next\n", s.RotationStep)
	}
	if s.Problem != "" {
		fmt.Fprintf(w, "       %s\n", s.Problem)
	}
}

// scaledLine tells of a tier that was scaled what becomes of it.
func scaledLine(t control.Tier) string {
	return fmt.Sprintf("%[1]s=%[2]d until the supervisor ends, then %[1]s=%[3]d again: for good by --replicas %[1]s=%[2]d, or replicas: {%[1]s: %[2]d} in the configuration file",
		t.Name, t.Scaled.To, t.Scaled.Configured)
}

func versionOf(r control.Replica) string {
	v := cmp.Or(r.Version, "-")
	if r.Emulates != "" {
		v += " as " + r.Emulates
	}
	return v
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
	s := fmt.Sprintf("%s\t%d\t%s\t%d\t%s\t%d MiB\t%s", r.Name, r.PID, r.Stage, r.Restarts, age, r.RSSBytes>>20, versionOf(r))
	if r.Remote {
		s = r.Name + "\t-\t" + r.Stage + "\t-\t-\t-\t-"
	}
	if wide {
		s += "\t" + cmp.Or(r.BinDir, "-") + "\t" + cmp.Or(r.CPU, "-") + "\t" + cpuLimit(r) + "\t" + memoryLimit(r) + "\t" + r.Address + "\t" + lastExit(r.LastExit)
	}
	return s
}

func cpuLimit(r control.Replica) string {
	if r.CPULimitMillis == 0 {
		return "-"
	}
	return fmt.Sprintf("%dm", r.CPULimitMillis)
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
