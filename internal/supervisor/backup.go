package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"triptych.dev/triptych/internal/backup"
	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/identity"
)

// TakeSnapshot implements control.Supervisor.
func (v *Supervisor) TakeSnapshot(ctx context.Context, r control.SnapshotRequest, tell func(step string, done, total int64)) (control.Snapshot, error) {
	seal := backup.Seal{RecipientsFile: r.RecipientsFile, PassphraseFile: r.PassphraseFile}
	if err := seal.Check(); err != nil {
		return control.Snapshot{}, control.RefusedError{Err: err}
	}
	if !filepath.IsAbs(r.Path) {
		return control.Snapshot{}, control.RefusedError{Err: fmt.Errorf("%q is no absolute path", r.Path)}
	}
	if _, err := os.Lstat(r.Path); err == nil {
		return control.Snapshot{}, control.RefusedError{Err: fmt.Errorf("%s is there already: choose another name", r.Path)}
	}
	ctx, cancel := v.untilStopping(ctx)
	defer cancel()
	done, err := v.take(ctx, r.Path, seal, tell)
	if err != nil {
		return control.Snapshot{}, err
	}
	v.print.Say("snapshot: took %s, %d keys, revision %d", done.Path, done.Keys, done.Revision)
	return done, nil
}

// take takes one snapshot at a time: each needs the room for a copy of the data.
func (v *Supervisor) take(ctx context.Context, to string, seal backup.Seal, tell backup.Tell) (control.Snapshot, error) {
	select {
	case v.snapshots.one <- struct{}{}:
	case <-ctx.Done():
		return control.Snapshot{}, ctx.Err()
	}
	defer func() { <-v.snapshots.one }()
	s := v.setup
	m, err := backup.Take(ctx, backup.Source{
		Main: s.mainEtcd(identity.Supervisor), Own: s.own.Load(), Files: s.snapshotFiles, Scratch: s.dir.Run(),
	}, to, seal, tell)
	if err != nil {
		return control.Snapshot{}, fmt.Errorf("cannot take a snapshot: %w", err)
	}
	info, err := os.Stat(to)
	if err != nil {
		return control.Snapshot{}, err
	}
	return control.Snapshot{Path: to, Taken: m.Taken, Bytes: info.Size(), Revision: m.Etcd.Revision, Keys: m.Etcd.Keys}, nil
}

// snapshotFiles are certificates, keys, settings and the files that those name.
func (s *setup) snapshotFiles() ([]backup.File, error) {
	all, err := backup.Folder(backup.PKIFolder, s.dir.PKI())
	if err != nil {
		return nil, err
	}
	config, files, err := s.options.Shared(backup.DataDir + "/" + backup.RestoredFolder)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		all = append(all, backup.File{Name: backup.ConfigFolder + "/" + f.Name, Path: f.Path})
	}
	return append(all, backup.File{Name: backup.ConfigFolder + "/supervisor.yaml", Data: config}), nil
}

// Snapshots implements control.Supervisor.
func (v *Supervisor) Snapshots() (control.Snapshots, error) {
	s := v.snapshotStatus()
	if s == nil {
		return control.Snapshots{}, control.RefusedError{Err: errors.New("there is no schedule: start the supervisor with --snapshot-schedule, such as 6h")}
	}
	all, err := listSnapshots(s.Dir)
	s.All = all
	return *s, err
}
