package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/supportbundle"
)

func (c *command) supportBundle() *cobra.Command {
	var o supportbundle.Options
	var file string
	cmd := &cobra.Command{
		Use:   "support-bundle",
		Short: "Pack what helps to find out what is wrong, without keys and tokens",
		Long: `Pack what helps to find out what is wrong into one file that can be handed on:
status, ends of logs, command line and configuration, metrics, warnings, facts about
this host, until when certificates are good. Keys, tokens and passwords are taken out;
names of objects and addresses are not. Works whether or not a supervisor is running.`,
		Example: `  supervisor support-bundle --data-dir ./data --goroutines`,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.packSupportBundle(cmd, o, file) },
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVar(&file, "file", "", "the file to write, which must not exist; by default it is named after this host and the time")
	cmd.Flags().BoolVar(&o.Goroutines, "goroutines", false, "also pack what each process is at")
	cmd.Flags().Int64Var(&o.LogBytes, "log-bytes", 4<<20, "how much of the end of each log is packed")
	_ = cmd.MarkFlagFilename("file", "tar.gz")
	return cmd
}

func (c *command) packSupportBundle(cmd *cobra.Command, o supportbundle.Options, file string) error {
	if o.LogBytes < 0 {
		return usageError{fmt.Errorf("--log-bytes=%d is less than nothing", o.LogBytes)}
	}
	d, err := c.dir()
	if err != nil {
		return err
	}
	o.Dir, o.Time, o.Version = d, time.Now(), ownVersion()
	o.Logs = append(children(), supervisorLog)
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	o.Folder = fmt.Sprintf("triptych-%s-%s", name, o.Time.UTC().Format("20060102T150405Z"))
	if file == "" {
		file = o.Folder + ".tar.gz"
	}
	// Nobody else has ever had it open, whatever the umask is.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return usageError{fmt.Errorf("cannot write the bundle: %w: name another file by --file", err)}
	}
	defer f.Close()
	pieces, err := supportbundle.Write(cmd.Context(), f, o)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		_ = os.Remove(file)
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	for _, p := range pieces {
		if p.Problem != "" {
			fmt.Fprintf(c.stderr, "warning: %s: %s\n", p.Name, strings.ReplaceAll(p.Problem, "\n", "; "))
		}
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, absolute)
	return err
}
