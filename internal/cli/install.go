package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/service"
)

// placing is what install and uninstall share.
type placing struct {
	host   service.Host
	output string
}

func (p *placing) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.host.Root, "root", "/", "folder with the files of a machine; for another than / nothing is run")
	cmd.Flags().BoolVar(&p.host.Dry, "dry-run", false, "say what would become of each path, and change nothing")
	_ = cmd.MarkFlagDirname("root")
	addOutput(cmd, &p.output, "json", "yaml")
}

// real tells whether the machine is this one, and is to be changed.
func (p *placing) real() bool { return filepath.Clean(p.host.Root) == "/" && !p.host.Dry }

func (c *command) install() *cobra.Command {
	var (
		p    placing
		from string
	)
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make this machine run it as a service: programs, units, users, folders",
		Long: `Make this machine run it as a service of systemd: the four programs in ` + service.Programs + `,
units, users, folders, man pages and completion. What is there and the same is left alone, settings are kept, and
another version replaces the programs; those that run go on until they are upgraded or restarted. Nothing is started.`,
		Example: "  supervisor install && systemctl enable --now triptych\n  supervisor install --root ./image --from ./bin",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if stepFormats[p.output] == nil {
				return unknownFormat(p.output, []string{"json", "yaml"})
			}
			if from == "" {
				executable, err := os.Executable()
				if err != nil {
					return fmt.Errorf("cannot find the supervisor's own program: %w", err)
				}
				from = filepath.Dir(executable)
			}
			documents, err := installed(cmd.Root())
			if err != nil {
				return err
			}
			steps, err := p.host.Install(from, documents)
			if err := errors.Join(c.showSteps(p.output, steps), err); err != nil {
				return usageError{err}
			}
			if !p.real() {
				return nil
			}
			return errors.Join(
				system(cmd.Context(), "systemd-sysusers", service.Users),
				system(cmd.Context(), "systemctl", "daemon-reload"),
				c.next(p.output, "next: systemctl enable --now triptych, then supervisor health --wait"),
			)
		},
	}
	p.addFlags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "folder with the four programs; by default the supervisor's own")
	_ = cmd.MarkFlagDirname("from")
	return cmd
}

func (c *command) uninstall() *cobra.Command {
	var (
		p     placing
		purge bool
	)
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take away what install brought; data stays",
		Long: `Stop the service and take away what install brought. Settings in ` + service.Settings + ` and data in ` + service.Data + `
stay, unless --purge: then the cluster is gone for good, with the keys that it is known by.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if stepFormats[p.output] == nil {
				return unknownFormat(p.output, []string{"json", "yaml"})
			}
			if p.real() {
				if err := system(cmd.Context(), "systemctl", "disable", "--now", service.Unit); err != nil {
					fmt.Fprintf(c.stderr, "warning: %v\n", err)
				}
			}
			runs := func(d datadir.Dir) bool {
				_, err := control.NewClient(d.Control()).Status(cmd.Context())
				return err == nil
			}
			if running := p.host.Running(runs); len(running) > 0 && !p.host.Dry {
				return usageError{fmt.Errorf("cannot uninstall: a supervisor runs on %s: stop it by supervisor stop --data-dir %s",
					join(running), filepath.Join(p.host.Root, running[0]))}
			}
			documents, err := installed(cmd.Root())
			if err != nil {
				return err
			}
			steps, err := p.host.Uninstall(slices.Sorted(maps.Keys(documents)), purge)
			if err := errors.Join(c.showSteps(p.output, steps), err); err != nil {
				return usageError{err}
			}
			if !p.real() {
				return nil
			}
			return system(cmd.Context(), "systemctl", "daemon-reload")
		},
	}
	p.addFlags(cmd)
	cmd.Flags().BoolVar(&purge, "purge", false, "settings and data go too, for good")
	return cmd
}

// booted is there where systemd is what runs the machine.
const booted = "/run/systemd/system"

// system runs a program of systemd, where the machine has that.
func system(ctx context.Context, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil
	}
	if _, err := os.Stat(booted); err != nil && name == "systemctl" {
		return nil
	}
	if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (c *command) next(output, line string) error {
	if output != "" {
		return nil
	}
	_, err := fmt.Fprintln(c.stdout, line)
	return err
}

var stepFormats = map[string]func(io.Writer, []service.Step) error{
	"json": showJSON[[]service.Step], "yaml": showYAML[[]service.Step],
	"": func(w io.Writer, steps []service.Step) error {
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		for _, s := range steps {
			fmt.Fprintf(t, "%s\t%s\n", s.Action, s.Path)
		}
		return t.Flush()
	},
}

func (c *command) showSteps(output string, steps []service.Step) error {
	if steps == nil {
		return nil // nothing was done
	}
	return stepFormats[output](c.stdout, steps)
}
