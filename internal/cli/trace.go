package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

func (c *command) trace() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "trace PATH",
		Short: "Say which tier serves a path, by which rule, and how long each process takes",
		Long: `Say which tier serves a path and by which rule, and ask each process on the way for it, as an administrator: the
head, and the tier that it hands the request to, by itself. What the head takes longer is what the hop costs. PATH is
asked for by GET, some times, and counts in audit log and metrics.`,
		Example: "  supervisor trace /api/v1/namespaces\n  supervisor trace '/apis/apps/v1/deployments?limit=500' -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("want one path, such as /api/v1/namespaces")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			show, ok := traceFormats[output]
			if !ok {
				return unknownFormat(output, []string{"json", "yaml"})
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			done, err := client.Trace(cmd.Context(), args[0])
			if err != nil {
				return c.at(err)
			}
			return show(c.stdout, done)
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

var traceFormats = map[string]func(io.Writer, *control.Trace) error{
	"": showTrace, "json": showJSON[*control.Trace], "yaml": showYAML[*control.Trace],
}

func showTrace(w io.Writer, done *control.Trace) error {
	fmt.Fprintf(w, "Path:   %s\nTier:   %s\nRule:   %s\n", done.Path, done.Tier, done.Rule)
	if done.Behind != "" {
		fmt.Fprintf(w, "Behind: the Service %s\n", done.Behind)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "PROCESS\tADDRESS\tCODE\tCONNECT\tFIRST BYTE\tALL\tBYTES\tPROBLEM")
	took := func(seconds float64) string {
		return time.Duration(seconds * float64(time.Second)).Round(time.Microsecond).String()
	}
	for _, h := range done.Hops {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%d\t%s\n", h.Process, cmp.Or(h.Address, "-"), h.Code,
			took(h.ConnectSeconds), took(h.FirstByteSeconds), took(h.Seconds), h.Bytes, cmp.Or(h.Problem, "-"))
	}
	return t.Flush()
}
