package process

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	kubernetes "k8s.io/component-base/version"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/version"
)

// Versions are what a program says of itself before it is trusted with a tier.
type Versions struct {
	// Tier is the one it is the program of.
	Tier tier.Name `json:"tier"`
	// Version is ours, Kubernetes what /version calls gitVersion.
	Version    string `json:"version"`
	Kubernetes string `json:"kubernetes"`
	// Protocol and OldestProtocol are the versions of the handshake it speaks.
	Protocol       int32 `json:"protocol"`
	OldestProtocol int32 `json:"oldestProtocol"`
}

// VersionsOf are those of this program, as that of the named tier.
func VersionsOf(name tier.Name) Versions {
	return Versions{
		Tier: name, Version: version.Version, Kubernetes: kubernetes.Get().GitVersion,
		Protocol: handshake.Protocol, OldestProtocol: handshake.OldestProtocol,
	}
}

// VersionCommand is the argument by which a program is asked for its Versions.
const VersionCommand = "version"

// newVersionCommand prints them as JSON, without any effect.
func newVersionCommand(name tier.Name) *cobra.Command {
	return &cobra.Command{
		Use:   VersionCommand,
		Short: "Print the versions of this program and what it speaks, as JSON",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := json.Marshal(VersionsOf(name))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(data))
			return err
		},
	}
}
