package etcd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// Database is what a snapshot of an etcd holds.
type Database struct {
	// Revision is the last one, Keys how many keys there are at all revisions that were not
	// compacted, Bytes the size of the file.
	Revision int64 `json:"revision"`
	Keys     int   `json:"keys"`
	Bytes    int64 `json:"bytes"`
	// Version is that of the storage, such as 3.6.0.
	Version string `json:"version,omitempty"`
}

// Fetch has one member of an etcd send a snapshot of its data, writes it to a new file at path,
// and reads that back: etcd's own hash must fit, and the database be whole. Everything
// that etcd had acknowledged when it was asked is in it. tell is called with bytes that are
// there, and those there will be.
func Fetch(ctx context.Context, from *clientv3.Client, path string, tell func(done, total int64)) (Database, error) {
	status, err := from.Status(ctx, from.Endpoints()[0])
	if err != nil {
		return Database{}, fmt.Errorf("cannot ask etcd how large its data is: %w", err)
	}
	// Only who has heard from the leader knows of all that was acknowledged.
	if _, err := from.Get(ctx, "health", clientv3.WithCountOnly()); err != nil {
		return Database{}, fmt.Errorf("cannot read from etcd: %w", err)
	}
	sent, err := from.SnapshotWithVersion(ctx)
	if err != nil {
		return Database{}, fmt.Errorf("cannot take a snapshot of etcd: %w", err)
	}
	defer sent.Snapshot.Close()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Database{}, err
	}
	defer file.Close()
	counted := &counter{to: file, total: status.DbSize, tell: tell}
	if _, err := io.Copy(counted, sent.Snapshot); err != nil {
		return Database{}, fmt.Errorf("cannot take a snapshot of etcd: %w", err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return Database{}, err
	}
	return Inspect(path)
}

// Inspect reads the snapshot at path: it must have etcd's hash at its end, and be a database
// that is whole.
func Inspect(path string) (Database, error) {
	if err := hashed(path); err != nil {
		return Database{}, err
	}
	s, err := inspect(path)
	if err != nil {
		return Database{}, fmt.Errorf("the snapshot of etcd is damaged: %w", err)
	}
	return s, nil
}

func inspect(path string) (Database, error) {
	s, err := snapshot.NewV3(zap.NewNop()).Status(path)
	return Database{Revision: s.Revision, Keys: s.TotalKey, Bytes: s.TotalSize, Version: s.Version}, err
}

// hashed compares a snapshot with the SHA-256 that etcd sends behind it.
func hashed(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := info.Size() - sha256.Size
	if size < 0 || size%512 != 0 {
		return errors.New("the snapshot of etcd is cut short: it has no hash at its end")
	}
	is := sha256.New()
	if _, err := io.CopyN(is, file, size); err != nil {
		return err
	}
	want, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	if string(is.Sum(nil)) != string(want) {
		return errors.New("the snapshot of etcd is damaged: its hash is not the one that etcd sent")
	}
	return nil
}

// counter passes on what is written and tells of it.
type counter struct {
	to          io.Writer
	done, total int64
	tell        func(done, total int64)
}

func (c *counter) Write(data []byte) (int, error) {
	n, err := c.to.Write(data)
	c.done += int64(n)
	c.tell(c.done, max(c.done, c.total))
	return n, err
}
