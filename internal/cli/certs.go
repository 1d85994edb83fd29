package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/pki"
)

func (c *command) certs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Show, renew and replace certificates",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.certsList(), c.certsRenew(), c.rotateCA())
	return cmd
}

func (c *command) certsList() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show every certificate: who shows it, its names, when it ends and is renewed",
		Long: `Show every certificate of the data directory, and those that flags name while the
supervisor runs: who shows it to whom, its names, when it ends and when it is renewed
by itself.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.listCerts(cmd, output) },
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

var certsFormats = map[string]func(io.Writer, []pki.Certificate) error{
	"": certsTable, "json": showJSON[[]pki.Certificate], "yaml": showYAML[[]pki.Certificate],
}

func (c *command) listCerts(cmd *cobra.Command, output string) error {
	show, ok := certsFormats[output]
	if !ok {
		return usageError{fmt.Errorf("--output=%s is not known: want json or yaml", output)}
	}
	ctx, cancel := contextWithin(cmd, statusTimeout)
	defer cancel()
	all, err := c.allCerts(ctx)
	if err != nil {
		return err
	}
	return show(c.stdout, all)
}

// allCerts asks the supervisor, or looks into its data directory when it does not run.
func (c *command) allCerts(ctx context.Context) ([]pki.Certificate, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	all, err := client.Certificates(ctx)
	if !errors.Is(err, control.ErrNotRunning) {
		return all, err
	}
	d, err := c.dir()
	if err != nil {
		return nil, err
	}
	_, none := os.Stat(pki.Paths{Dir: d}.EtcdCA().Cert)
	return pki.List(pki.Options{Dir: d, EmbeddedEtcd: none == nil})
}

func certsTable(w io.Writer, all []pki.Certificate) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tENDS\tLEFT\tRENEWED\tFOR\tNAMES")
	for _, c := range all {
		end, left, renewed := "-", "-", "by you"
		if !c.NotAfter.IsZero() {
			end, left = c.NotAfter.Format(time.DateTime), leftUntil(c.NotAfter)
		}
		if c.Renewed != nil {
			renewed = c.Renewed.UTC().Format(time.DateTime)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, end, left, renewed, c.For, strings.Join(c.SANs, ","))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range all {
		if c.Problem != "" {
			fmt.Fprintf(w, "%s: %s\n", c.Name, c.Problem)
		}
	}
	return nil
}

// leftUntil is the time until then, to two digits or so.
func leftUntil(then time.Time) string {
	left := time.Until(then)
	switch {
	case left <= 0:
		return "ended"
	case left > 48*time.Hour:
		return fmt.Sprintf("%dd", int(left.Hours()/24))
	case left > time.Hour:
		return left.Truncate(time.Minute).String()[:len(left.Truncate(time.Minute).String())-2]
	}
	return left.Truncate(time.Second).String()
}

func (c *command) certsRenew() *cobra.Command {
	var all bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "renew [NAME...]",
		Short: "Sign certificates anew, while requests go on",
		Long: `Sign certificates anew that the supervisor made, as "supervisor certs list" names them,
and return when all processes go by them. No request fails. Internal ones get another
key, too. None of yours is touched.`,
		Example: `  supervisor certs renew --all
  supervisor certs renew internal/core-self`,
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 0) == !all {
				return usageError{errors.New("want the NAME of a certificate, or --all")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			names, err := client.RenewCertificates(ctx, args, all)
			if err != nil {
				return c.at(err)
			}
			for _, name := range names {
				fmt.Fprintf(c.stdout, "renewed %s\n", name)
			}
			return nil
		},
	}
	c.addDataDir(cmd)
	addTimeout(cmd, &timeout)
	cmd.Flags().BoolVar(&all, "all", false, "renew all of them")
	return cmd
}

func (c *command) rotateCA() *cobra.Command {
	var asked control.CARotation
	var step string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rotate-ca",
		Short: "Replace the internal CA and all that it signed, while requests go on",
		Long: `Replace the CA by which processes know one another, its key, and all certificates and
keys that it signed, while requests go on: first all trust the old and the new one, then
all show certificates of the new one, then nobody trusts the old one. What was stolen is
worth nothing from then on; with --now connections by it are closed at once, otherwise
they have a minute to answer what they were asked.

Clients of the API do not notice: their CA is another one.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if asked.Step = pki.Step(step); step != "" && !slices.Contains(pki.Steps, asked.Step) {
				return usageError{fmt.Errorf("--step=%s is not known: want one of %v", step, pki.Steps)}
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			if err := client.RotateCA(ctx, asked); err != nil {
				return c.at(err)
			}
			_, err = fmt.Fprintln(c.stdout, "done")
			return err
		},
	}
	c.addDataDir(cmd)
	addTimeout(cmd, &timeout)
	cmd.Flags().BoolVar(&asked.Now, "now", false, "close connections by certificates of the old CA at once")
	cmd.Flags().StringVar(&step, "step", "", "take this step alone: trust, sign or drop; for hosts that share the CA")
	return cmd
}
