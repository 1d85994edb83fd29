package cli

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/version"
)

// versionInfo is what version prints.
type versionInfo struct {
	GitVersion string `json:"gitVersion"`
	// Protocol and OldestProtocol are the versions of the handshake it speaks.
	Protocol       int32  `json:"protocol"`
	OldestProtocol int32  `json:"oldestProtocol"`
	GoVersion      string `json:"goVersion"`
	Platform       string `json:"platform"`
}

func (c *command) version() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			show, ok := versionFormats[output]
			if !ok {
				return usageError{fmt.Errorf("--output=%s is not known: want json or yaml", output)}
			}
			return show(c.stdout, ownVersion())
		},
	}
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

func ownVersion() versionInfo {
	return versionInfo{
		GitVersion: version.Version, Protocol: handshake.Protocol, OldestProtocol: handshake.OldestProtocol,
		GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

var versionFormats = map[string]func(io.Writer, versionInfo) error{
	"": func(w io.Writer, v versionInfo) error {
		_, err := fmt.Fprintln(w, v.GitVersion)
		return err
	},
	"json": showJSON[versionInfo],
	"yaml": showYAML[versionInfo],
}
