package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// bury removes the beginnings of a member that was killed, in its very first moments,
// between making its log and writing the first entry: that it is a member. etcd
// takes such a log for the log of one that is there, and waits for ever for a
// cluster that nobody belongs to. Nothing can have been stored with it; where
// anything was, or what is there cannot be read, nothing is touched.
func bury(dir string, log *zap.Logger) error {
	unborn, err := unborn(dir)
	if err != nil {
		log.Warn("cannot tell whether the member was ever there", zap.Error(err))
		return nil // etcd says it better
	}
	if !unborn {
		return nil
	}
	log.Warn("the last start was cut off before anything was stored: beginning anew", zap.String("dir", dir))
	if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
		return fmt.Errorf("cannot remove what a start that was cut off left: %w", err)
	}
	return nil
}

func unborn(dir string) (bool, error) {
	member := filepath.Join(dir, "member")
	if !wal.Exist(filepath.Join(member, "wal")) {
		return false, nil
	}
	if snapshots, err := filepath.Glob(filepath.Join(member, "snap", "*.snap")); err != nil || len(snapshots) > 0 {
		return false, err
	}
	log, err := wal.OpenForRead(zap.NewNop(), filepath.Join(member, "wal"), &walpb.Snapshot{})
	if err != nil {
		return false, fmt.Errorf("cannot open the log: %w", err)
	}
	defer log.Close()
	_, state, entries, err := log.ReadAll()
	if err != nil {
		return false, fmt.Errorf("cannot read the log: %w", err)
	}
	if len(entries) > 0 || state.GetTerm() > 0 || state.GetCommit() > 0 {
		return false, nil
	}
	stored, err := holdsKeys(filepath.Join(member, "snap", "db"))
	return err == nil && !stored, err
}

// holdsKeys tells whether anything was ever written to the database at path.
func holdsKeys(path string) (bool, error) {
	if file, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && file.Size() == 0 {
		return false, nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return false, fmt.Errorf("cannot open %s: %w", path, err)
	}
	defer db.Close()
	holds := false
	err = db.View(func(tx *bbolt.Tx) error {
		if keys := tx.Bucket([]byte("key")); keys != nil {
			first, _ := keys.Cursor().First()
			holds = first != nil
		}
		return nil
	})
	return holds, err
}
