package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/backup"
	"triptych.dev/triptych/internal/control"
)

func (c *command) snapshot() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save etcd, keys and settings in one file, and restore them",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.snapshotSave(), c.snapshotVerify(), c.snapshotRestore(), c.snapshotSchedule())
	return cmd
}

// oneFile is for commands about the file of a snapshot.
func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("%s takes the name of one file: %d were given", cmd.CommandPath(), len(args))}
	}
	return nil
}

// addKeys adds how a snapshot is opened.
func addKeys(cmd *cobra.Command, keys *backup.Keys) {
	cmd.Flags().StringVar(&keys.IdentityFile, "identity-file", "", "file with private keys of age, for one that is encrypted")
	cmd.Flags().StringVar(&keys.PassphraseFile, "passphrase-file", "", "file with the passphrase in its first line, for one that is encrypted")
}

func (c *command) snapshotSave() *cobra.Command {
	var (
		r       control.SnapshotRequest
		output  string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Save etcd, certificates, keys and settings in a file",
		Long: `Save the data of etcd, certificates, keys and settings in a file: a tar archive with
the hash of each file in it, which is written under another name, read back, and then
renamed. Every write that was acknowledged before is in it. It makes its reader
administrator, so encrypt it for the public keys of --recipients, or by a passphrase.
Where no supervisor runs, what is there is saved, without settings.`,
		Example: `  age-keygen -o key.txt && age-keygen -y key.txt > public.txt      # keep key.txt elsewhere
  supervisor snapshot save --data-dir ./data --recipients public.txt /backup/today.tar.age`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			show, err := showerOf(output)
			if err != nil {
				return err
			}
			for to, from := range map[*string]string{&r.Path: args[0], &r.RecipientsFile: r.RecipientsFile, &r.PassphraseFile: r.PassphraseFile} {
				if from == "" {
					continue
				}
				if *to, err = filepath.Abs(from); err != nil {
					return err
				}
			}
			if err := (backup.Seal{RecipientsFile: r.RecipientsFile, PassphraseFile: r.PassphraseFile}).Check(); err != nil {
				return usageError{err}
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			return c.save(ctx, r, show)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVar(&r.RecipientsFile, "recipients", "", "file with public keys of age, one a line, to encrypt it for")
	cmd.Flags().StringVar(&r.PassphraseFile, "passphrase-file", "", "file with a passphrase in its first line, to encrypt it by")
	addOutput(cmd, &output, "json", "yaml")
	addTimeout(cmd, &timeout)
	return cmd
}

// showerOf returns what prints a value as -o says, nil for text.
func showerOf(output string) (func(io.Writer, any) error, error) {
	switch output {
	case "":
		return nil, nil
	case "json":
		return showJSON[any], nil
	case "yaml":
		return showYAML[any], nil
	}
	return nil, usageError{fmt.Errorf("--output=%s is not known: want json or yaml", output)}
}

func (c *command) save(ctx context.Context, r control.SnapshotRequest, show func(io.Writer, any) error) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	p := newProgress(c.stderr)
	done, err := client.TakeSnapshot(ctx, r, p.tell)
	if errors.Is(err, control.ErrNotRunning) {
		done, err = c.saveOffline(ctx, r, p.tell)
	}
	p.end()
	if err != nil {
		return c.at(err)
	}
	if show != nil {
		return show(c.stdout, done)
	}
	_, err = fmt.Fprintf(c.stdout, "%s: %s, %d keys, revision %d\n", done.Path, humanize.IBytes(uint64(done.Bytes)), done.Keys, done.Revision)
	return err
}

// verified is what verify prints.
type verified struct {
	Path            string `json:"path"`
	backup.Manifest `json:",inline"`
}

func (c *command) snapshotVerify() *cobra.Command {
	var (
		keys   backup.Keys
		output string
	)
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Read a snapshot to its end and compare it with its hashes",
		Long: `Read a snapshot to its end, compare each file in it with the hash that it was written
with, and print what it holds. Nothing is written. Exits with 1 if it is damaged, cut short or
encrypted for another key.`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			show, err := showerOf(output)
			if err != nil {
				return err
			}
			p := newProgress(c.stderr)
			m, err := backup.Verify(args[0], keys, func(done, total int64) { p.tell("reading", done, total) })
			p.end()
			if err != nil {
				return err
			}
			if show != nil {
				return show(c.stdout, verified{args[0], m})
			}
			c.describe(m)
			_, err = fmt.Fprintln(c.stdout, "whole: every file in it has its hash")
			return err
		},
	}
	addKeys(cmd, &keys)
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

func (c *command) describe(m backup.Manifest) {
	fmt.Fprintf(c.stdout, "taken on %s at %s by %s\n", m.Host, m.Taken.Local().Format(time.DateTime), m.Version)
	fmt.Fprintf(c.stdout, "etcd: %d keys, revision %d, %s\n", m.Etcd.Keys, m.Etcd.Revision, humanize.IBytes(uint64(m.Etcd.Bytes)))
	if own := m.ExtensionsEtcd; own != nil {
		fmt.Fprintf(c.stdout, "etcd of custom resources: %d keys, revision %d, %s\n", own.Keys, own.Revision, humanize.IBytes(uint64(own.Bytes)))
	}
}

func (c *command) snapshotSchedule() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "schedule",
		Short: "Show the snapshots that the running supervisor takes by itself",
		Long: `Show the snapshots that the running supervisor takes by itself, when the next is due,
and why the last attempt failed. They are asked for by flags of run, or the same settings in its file:
--snapshot-schedule, --snapshot-keep, --snapshot-dir and --snapshot-recipients. Exits with 1 if
the last attempt failed.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show, err := showerOf(output)
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			ctx, cancel := contextWithin(cmd, statusTimeout)
			defer cancel()
			s, err := client.Snapshots(ctx)
			if err != nil {
				return c.at(err)
			}
			if show == nil {
				err = showSnapshots(c.stdout, s)
			} else {
				err = show(c.stdout, s)
			}
			if err == nil && s.Problem != "" {
				err = errors.New("the last snapshot by schedule failed: " + s.Problem)
			}
			return err
		},
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

func showSnapshots(w io.Writer, s *control.Snapshots) error {
	fmt.Fprintf(w, "Schedule: %s, the last %d are kept in %s\n", s.Schedule, s.Keep, s.Dir)
	if s.Next != nil {
		fmt.Fprintf(w, "Next:     %s\n", s.Next.Local().Format(time.DateTime))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SNAPSHOT\tTAKEN\tSIZE")
	for _, one := range s.All {
		fmt.Fprintf(t, "%s\t%s\t%s\n", filepath.Base(one.Path), one.Taken.Local().Format(time.DateTime), humanize.IBytes(uint64(one.Bytes)))
	}
	return t.Flush()
}

// snapshotLine is what status says of the schedule.
func snapshotLine(s *control.Snapshots) string {
	line := "none yet"
	if s.Last != nil {
		line = "the last " + time.Since(s.Last.Taken).Round(time.Second).String() + " ago"
	}
	if s.Problem != "" {
		return line + "; the last attempt failed: " + s.Problem
	}
	if s.Next != nil {
		line += ", the next at " + s.Next.Local().Format(time.DateTime)
	}
	return line
}

// snapshotOf tells of a file that was written.
func snapshotOf(path string, m backup.Manifest) (*control.Snapshot, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &control.Snapshot{Path: path, Taken: m.Taken, Bytes: info.Size(), Revision: m.Etcd.Revision, Keys: m.Etcd.Keys}, nil
}
