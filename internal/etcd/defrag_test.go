package etcd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.uber.org/zap"
)

func TestWorthDefragmenting(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		size, used int64
		want       bool
	}{
		"empty":              {0, 0, false},
		"much, mostly waste": {200 * mib, 80 * mib, true},
		"much, mostly used":  {1000 * mib, 600 * mib, false},
		"little":             {64 * mib, 1 * mib, false},
		"just over":          {66 * mib, 1 * mib, true},
	} {
		if got := worthDefragmenting(tc.size, tc.used); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestDefragmentationGivesSpaceBackAndLosesNothing(t *testing.T) {
	r := newRig(t)
	r.start(t, "defragment")
	client := r.client(t)
	put(t, client, "kept", "v")
	var last *clientv3.DeleteResponse
	for i := range 16 {
		put(t, client, fmt.Sprintf("waste-%d", i), strings.Repeat("v", 1<<20))
	}
	last, err := client.Delete(t.Context(), "waste-", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), last.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		s, err := client.Status(t.Context(), client.Endpoints()[0])
		if err != nil {
			t.Fatal(err)
		}
		if s.DbSize < 4<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes allocated, %d in use", s.DbSize, s.DbSizeInUse)
		}
	}
	if v := get(t, client, "kept"); v != "v" {
		t.Errorf("kept = %q", v)
	}
}

type fakeBackend struct {
	backend.Backend
	size, used int64
	done       int
}

func (b *fakeBackend) Size() int64      { return b.size }
func (b *fakeBackend) SizeInUse() int64 { return b.used }
func (b *fakeBackend) Defrag() error    { b.done++; return nil }

func TestNoRoomNoDefragmentation(t *testing.T) {
	b := &fakeBackend{size: 1 << 62, used: 1 << 60}
	defragment(b, t.TempDir(), zap.NewNop())
	if b.done != 0 {
		t.Error("defragmented onto a disk without room")
	}
	b.size, b.used = 1<<30, 1<<10
	defragment(b, t.TempDir(), zap.NewNop())
	if b.done != 1 {
		t.Error("not defragmented though it is worth it")
	}
}
