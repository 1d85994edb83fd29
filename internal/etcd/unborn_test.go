package etcd

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// cutOff leaves what a first start leaves that is killed when its log has been made
// and nothing is in it.
func (r *rig) cutOff(t *testing.T) {
	t.Helper()
	member := filepath.Join(r.options.DataDir, "member")
	if err := os.MkdirAll(filepath.Join(member, "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Create(zap.NewNop(), filepath.Join(member, "wal"), []byte("\x08\x01\x10\x02"))
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
}

func (r *rig) database(t *testing.T, write func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(r.options.DataDir, "member", "snap", "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(write); err != nil {
		t.Fatal(err)
	}
}

func TestAFirstStartThatWasCutOffIsNoObstacle(t *testing.T) {
	r := newRig(t)
	r.cutOff(t)
	r.database(t, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("key")); return err })
	c := r.start(t, "plain")
	put(t, r.client(t), "k", "v")
	c.stop()
	r.start(t, "plain")
	if v := get(t, r.client(t), "k"); v != "v" {
		t.Errorf("k = %q", v)
	}
}

func TestWhatWasStoredIsNeverTakenForAStartThatWasCutOff(t *testing.T) {
	r := newRig(t)
	want := func(what string) {
		t.Helper()
		if err := bury(r.options.DataDir, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(r.options.DataDir, "member")); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	r.start(t, "plain").kill() // an entry: that it is a member
	want("a member without keys")
	os.RemoveAll(filepath.Join(r.options.DataDir, "member"))

	r.cutOff(t)
	r.database(t, func(tx *bbolt.Tx) error {
		keys, err := tx.CreateBucket([]byte("key"))
		if err == nil {
			err = keys.Put([]byte("revision"), []byte("value"))
		}
		return err
	})
	want("keys without a log")
	os.RemoveAll(filepath.Join(r.options.DataDir, "member"))

	r.cutOff(t)
	logs, _ := filepath.Glob(filepath.Join(r.options.DataDir, "member", "wal", "*.wal"))
	if err := os.WriteFile(logs[0], []byte("this is no log, and yet somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("a log that cannot be read")
}
