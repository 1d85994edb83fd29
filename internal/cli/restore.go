package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/backup"
	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/wiring"
)

func (c *command) snapshotRestore() *cobra.Command {
	var (
		keys              backup.Keys
		replace, etcdOnly bool
	)
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data directory of a snapshot",
		Long: `Make a data directory of a snapshot, for the etcd that the supervisor runs. The supervisor
must be stopped. Everything is made beside first, so that all of it is in place or nothing; where a
restore is killed, the next start or the next restore does it to its end, or forgets it.

Resource versions go on from a billion more, and those of before are too old (410): clients that
watched before the restore list anew, and none takes what it knew for newer than what there is.
Settings of the snapshot are put in restored/ of the data directory; none of them counts by itself.`,
		Example: `  supervisor snapshot restore --data-dir /var/lib/triptych --identity-file key.txt /backup/today.tar.age`,
		Args:    oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			return c.restore(args[0], keys, replace, etcdOnly)
		},
	}
	c.addDataDir(cmd)
	addKeys(cmd, &keys)
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of data that is there, which is kept aside")
	cmd.Flags().BoolVar(&etcdOnly, "etcd-only", false, "leave certificates and keys as they are")
	return cmd
}

func (c *command) restore(file string, keys backup.Keys, replace, etcdOnly bool) error {
	h, err := datadir.Open(c.dataDir)
	if locked := (*datadir.LockedError)(nil); errors.As(err, &locked) {
		return err
	}
	if err != nil {
		return usageError{err}
	}
	defer h.Close()
	p := newProgress(c.stderr)
	done, err := backup.Restore(h, file, keys, backup.Choice{Replace: replace, PKI: !etcdOnly}, p.tell)
	p.end()
	if occupied := (*backup.OccupiedError)(nil); errors.As(err, &occupied) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	c.describe(done.Manifest)
	if done.Before {
		fmt.Fprintln(c.stdout, "a restore of it had been interrupted, and is done now")
	}
	if done.Aside != "" {
		fmt.Fprintf(c.stdout, "what was there is in %s\n", done.Aside)
	}
	if done.Own != "" {
		fmt.Fprintf(c.stdout, "restore %s into the etcd of custom resources, with etcdutl snapshot restore --bump-revision 1000000000 --mark-compacted\n", done.Own)
	}
	fmt.Fprintf(c.stdout, "restored: look at %s, then\nsupervisor run --data-dir %s\n", filepath.Join(h.Root, backup.RestoredFolder), h.Root)
	return nil
}

// saveOffline saves what a stopped supervisor has left.
func (c *command) saveOffline(ctx context.Context, r control.SnapshotRequest, tell backup.Tell) (*control.Snapshot, error) {
	if err := isCurrent(c.dataDir); err != nil {
		return nil, err
	}
	h, err := datadir.Open(c.dataDir)
	if err != nil {
		return nil, usageError{err}
	}
	defer h.Close()
	var m backup.Manifest
	err = offline(ctx, h.Dir, func(ctx context.Context, at wiring.Etcd, _ *etcd.Client) error {
		source := backup.Source{Main: at, Scratch: h.Run(), Files: func() ([]backup.File, error) { return backup.Folder(backup.PKIFolder, h.PKI()) }}
		seal := backup.Seal{RecipientsFile: r.RecipientsFile, PassphraseFile: r.PassphraseFile}
		m, err = backup.Take(ctx, source, r.Path, seal, tell)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot take a snapshot: %w", err)
	}
	return snapshotOf(r.Path, m)
}

// offline serves the data of a stopped supervisor while do is at work, as the supervisor.
func offline(ctx context.Context, d datadir.Dir, do func(context.Context, wiring.Etcd, *etcd.Client) error) error {
	// The supervisor may not have run for longer than they live.
	if _, err := pki.Renew(pki.Options{Dir: d, EmbeddedEtcd: true}, nil); err != nil {
		return usageError{err}
	}
	files := pki.Paths{Dir: d}
	mine, server := files.EtcdClient(identity.Supervisor), files.EtcdServer()
	cfg, err := pki.ClientTLS(files.EtcdCA().Cert, mine.Cert, mine.Key, "127.0.0.1")
	if err != nil {
		return err
	}
	o := etcd.Options{DataDir: d.Etcd(), CAFile: files.EtcdCA().Cert, CertFile: server.Cert, KeyFile: server.Key}
	return etcd.Offline(ctx, o, cfg, func(ctx context.Context, client *etcd.Client) error {
		at := wiring.Etcd{Servers: []string{"https://" + client.Address()}, CAFile: files.EtcdCA().Cert, CertFile: mine.Cert, KeyFile: mine.Key}
		return do(ctx, at, client)
	})
}
