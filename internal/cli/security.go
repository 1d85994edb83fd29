package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
)

func (c *command) security() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "security",
		Short: "Show what each process may do, and what it should not",
		Long: `Show for each process that runs who it is, what it may do, and which keys it can
read, beside what that should be. Exits with 1 if anything is more than it should
be, and with 69 if no supervisor is running on the data directory.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.showSecurity(cmd, output) },
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

var securityFormats = map[string]func(io.Writer, []control.SecurityRow) error{
	"": securityTable, "json": showJSON[[]control.SecurityRow], "yaml": showYAML[[]control.SecurityRow],
}

func (c *command) showSecurity(cmd *cobra.Command, output string) error {
	show, ok := securityFormats[output]
	if !ok {
		return usageError{fmt.Errorf("--output=%s is not known: want json or yaml", output)}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := contextWithin(cmd, statusTimeout)
	defer cancel()
	rows, err := client.Security(ctx)
	if err != nil {
		return c.at(err)
	}
	if err := show(c.stdout, rows); err != nil {
		return err
	}
	gaps := 0
	for _, r := range rows {
		if !r.OK {
			gaps++
		}
	}
	if gaps > 0 {
		return gapError{gaps}
	}
	return nil
}

func securityTable(w io.Writer, rows []control.SecurityRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "PROCESS\tWHAT\tSHOULD BE\tIS\t")
	for _, r := range rows {
		gap := ""
		if !r.OK {
			gap = "GAP"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Process, r.What, r.Want, r.Is, gap)
	}
	return t.Flush()
}
