package process

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/tier"
)

// NewCommand returns the program of a tier: its flags, registered by addFlags,
// and the one that every tier has. run gets them parsed, with the path of the
// wiring.
func NewCommand(name tier.Name, short string, addFlags func(*pflag.FlagSet), run func(flags *pflag.FlagSet, wiring string) error) *cobra.Command {
	var wiring string
	cmd := &cobra.Command{
		Use:   string(name),
		Short: short + ", one tier of Triptych; started by the supervisor",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return run(cmd.Flags(), wiring) },
	}
	addFlags(cmd.Flags())
	cmd.Flags().StringVar(&wiring, "wiring", "", "File that tells this process its listeners, its certificates and where the other tiers are.")
	cmd.CompletionOptions.DisableDefaultCmd = true // for people, and nobody types this
	cmd.AddCommand(newVersionCommand(name))
	return cmd
}
