package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func (c *command) kubeconfig() *cobra.Command {
	var path bool
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig",
		Long: `Print the administrator's kubeconfig, which holds a key: whoever has it has the
cluster.`,
		Example: `  export KUBECONFIG=$(supervisor kubeconfig --path --data-dir ./data)`,
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return c.printKubeconfig(path) },
	}
	c.addDataDir(cmd)
	cmd.Flags().BoolVar(&path, "path", false, "print where it is instead")
	cmd.AddCommand(c.kubeconfigCreate())
	return cmd
}

func (c *command) printKubeconfig(path bool) error {
	d, err := c.dir()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(d.Kubeconfig())
	if err != nil {
		return fmt.Errorf("cannot read the kubeconfig: %w: the supervisor writes it when it starts", err)
	}
	if !path {
		_, err = c.stdout.Write(data)
		return err
	}
	absolute, err := filepath.Abs(d.Kubeconfig())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, absolute)
	return err
}
