package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What is restored has all keys, goes on from a higher revision, and tells who watches
// from one of before that it is too old.
func TestARestoredEtcdGoesForwardAndNeverBack(t *testing.T) {
	r := newRig(t)
	c := r.start(t, "plain")
	client := r.client(t)
	for i := range 20 {
		if _, err := client.Put(t.Context(), fmt.Sprint("/registry/k", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "db")
	told := int64(0)
	is, err := Fetch(t.Context(), client, path, func(done, _ int64) { told = done })
	if err != nil {
		t.Fatal(err)
	}
	if is.Keys < 20 || is.Revision < 21 || is.Bytes == 0 || told < is.Bytes {
		t.Errorf("%+v, told of %d bytes", is, told)
	}
	later, err := client.Put(t.Context(), "/registry/later", "v")
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	c.stop()

	if err := os.RemoveAll(r.options.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := Restore(Restoration{Snapshot: path, Dir: r.options.DataDir, Member: Embedded, Forward: true}); err != nil {
		t.Fatal(err)
	}
	r.start(t, "plain")
	client = r.client(t)
	all, err := client.Get(t.Context(), "/registry/", clientv3.WithPrefix())
	if err != nil || all.Count != 20 || all.Header.Revision <= later.Header.Revision {
		t.Errorf("%d keys, revision %d, was %d: %v", all.Count, all.Header.Revision, later.Header.Revision, err)
	}
	for answer := range client.Watch(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(later.Header.Revision)) {
		if !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
			t.Errorf("who watches from before is told %v", answer.Err())
		}
		break
	}
}

func TestASnapshotOfEtcdThatIsNotWholeIsRefused(t *testing.T) {
	r := newRig(t)
	r.start(t, "plain")
	path := filepath.Join(t.TempDir(), "db")
	if _, err := Fetch(t.Context(), r.client(t), path, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int) []byte {
		is := slices.Clone(data)
		is[at] ^= 1
		return is
	}
	// The database of the first two can be read, that of the last may have whoever does go round for ever.
	for _, damaged := range []struct {
		is   []byte
		want string
	}{
		{changed(len(data) - 1), "not the one that etcd sent"},
		{data[:len(data)-40], "cut short"},
		{changed(len(data) / 2), "not the one that etcd sent"},
	} {
		if err := os.WriteFile(path, damaged.is, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Inspect(path); err == nil || !strings.Contains(err.Error(), damaged.want) {
			t.Fatalf("want %q: %v", damaged.want, err)
		}
	}
}
