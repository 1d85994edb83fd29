package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/doctor"
)

func (c *command) doctor() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at this machine and the data directory for what goes wrong, with remedies",
		Long: `Look at this machine and the data directory for what keeps a supervisor from running well: kernel, limits, clock,
memory, disk, programs, ports, certificates, file modes, etcd. Each finding has a remedy. Exits with 1 if anything is
a problem; a warning is none. The flags of run may be given; nothing but a file for measuring the disk is written.`,
		Example: "  supervisor doctor --config /etc/triptych/supervisor.yaml",
		Args:    noArguments,
	}
	o := addRunFlags(cmd)
	cmd.Flags().Lookup("data-dir").Hidden = false
	_ = cmd.MarkFlagDirname("data-dir")
	addOutput(cmd, &output, "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		show, ok := doctorFormats[output]
		if !ok {
			return unknownFormat(output, []string{"json", "yaml"})
		}
		if err := o.Load(); err != nil {
			return usageError{err}
		}
		root, err := filepath.Abs(o.DataDir)
		if err != nil {
			return err
		}
		programs := o.BinDir
		if programs == "" {
			executable, err := os.Executable()
			if err != nil {
				return fmt.Errorf("cannot find the supervisor's own program: %w", err)
			}
			programs = filepath.Dir(executable)
		}
		p := doctor.Patient{Options: o, Dir: datadir.Dir{Root: root}, Programs: programs}
		ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
		defer cancel()
		if s, err := control.NewClient(p.Dir.Control()).Status(ctx); err == nil {
			p.Status = s
		}
		all := doctor.Examine(cmd.Context(), p)
		if err := show(c.stdout, all); err != nil {
			return err
		}
		if doctor.Worst(all) == doctor.Problem {
			return gapError{1}
		}
		return nil
	}
	return cmd
}

var doctorFormats = map[string]func(io.Writer, []doctor.Finding) error{
	"": showFindings, "json": showJSON[[]doctor.Finding], "yaml": showYAML[[]doctor.Finding],
}
