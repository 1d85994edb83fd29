package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/internal/supervisor/doctor"
)

func (c *command) why() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why",
		Short: "Say why an APIService is not available, or a namespace does not go away",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		c.whyOf("apiservice NAME", "Say why an APIService such as v1beta1.metrics.k8s.io is not available", doctor.APIService),
		c.whyOf("namespace NAME", "Say why a namespace does not go away", doctor.Namespace),
	)
	return cmd
}

func (c *command) whyOf(use, short string, examine func(cmd doctor.API, name string) ([]doctor.Finding, error)) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  short + ".\nExits with 1 if it is stuck, and each reason has a remedy.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("want one name")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			show, ok := doctorFormats[output]
			if !ok {
				return unknownFormat(output, []string{"json", "yaml"})
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			all, err := examine(api, args[0])
			if err != nil {
				return err
			}
			if err := show(c.stdout, all); err != nil {
				return err
			}
			if doctor.Worst(all) == doctor.Problem {
				return gapError{1}
			}
			return nil
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

// api asks the API server as the administrator.
func (c *command) api(cmd *cobra.Command) (doctor.API, error) {
	d, err := c.dir()
	if err != nil {
		return doctor.API{}, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", d.Kubeconfig())
	if err != nil {
		return doctor.API{}, fmt.Errorf("cannot read the kubeconfig: %w: the supervisor writes it when it starts", err)
	}
	cfg.QPS, cfg.Timeout = -1, statusTimeout
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return doctor.API{}, err
	}
	return doctor.API{Context: cmd.Context(), Client: client, Host: cfg.Host}, nil
}

// showFindings prints findings as a table.
func showFindings(w io.Writer, all []doctor.Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "CHECK\tLEVEL\tFOUND\tREMEDY")
	for _, f := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Check, f.Level, f.Says, cmp.Or(f.Remedy, "-"))
	}
	return t.Flush()
}
