package etcd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// whole finds a database that lost its end, as a copy that was cut short has.
// etcd maps the file into memory and would touch what is not there: a fault that
// kills the process and cannot be told from a crash. It waits, as etcd would,
// for a process that still has the file open.
func whole(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	file, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && file.Size() == 0 {
		return nil // what the log holds makes a new one
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		file, err := os.Stat(path)
		if err == nil && file.Size() < tx.Size() {
			err = fmt.Errorf("%s has %d of %d bytes: %w", path, file.Size(), tx.Size(), io.ErrUnexpectedEOF)
		}
		return err
	})
}
