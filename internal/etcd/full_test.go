package etcd

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// fill writes other keys until the quota is reached, many small ones at a time: of
// these what etcd leaves free between two commits is little, so that the database
// stays full when it is written anew without.
func fill(t *testing.T, c *clientv3.Client) {
	t.Helper()
	value := strings.Repeat("v", 1<<10)
	for i := range 1000 {
		var puts []clientv3.Op
		for j := range 100 {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("fill%d/%d", i, j), value))
		}
		if _, err := c.Txn(t.Context()).Then(puts...).Commit(); err != nil {
			return
		}
	}
	t.Fatal("the quota is not reached")
}

func compact(t *testing.T, r *rig) (before, after Room) {
	t.Helper()
	c, err := Dial(r.options.ClientAddress, r.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if before, after, err = c.Compact(t.Context(), r.options.DataDir); err != nil {
		t.Fatal(err)
	}
	return before, after
}

func TestCompactingAFullEtcdHasItTakeWritesAgainOnceThereIsRoom(t *testing.T) {
	r := newRig(t)
	r.options.QuotaBytes = 8 << 20
	r.start(t, "plain")
	client := r.client(t)
	put(t, client, "kept", "value")
	fill(t, client)

	if before, after := compact(t, r); !before.Full || !after.Full || after.Quota != 8<<20 {
		t.Errorf("what is full of data: %+v, then %+v", before, after)
	}
	if _, err := client.Delete(t.Context(), "fill", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if before, after := compact(t, r); !before.Full || after.Full || after.Size >= before.Size/2 {
		t.Errorf("what is full of history: %+v, then %+v", before, after)
	}
	put(t, client, "more", "value")
	// There is nothing more to compact.
	if _, after := compact(t, r); after.Full {
		t.Errorf("what has room: %+v", after)
	}
	if got := get(t, client, "kept"); got != "value" {
		t.Errorf("what was there is %q", got)
	}
}

func TestCompactingFillsNoDisk(t *testing.T) {
	r := newRig(t)
	r.options.QuotaBytes = 8 << 20
	r.start(t, "plain")
	client := r.client(t)
	fill(t, client)
	if _, err := client.Delete(t.Context(), "fill", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(r.options.ClientAddress, r.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	size := func() int64 {
		room, err := c.Room(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return room.Size
	}
	before := size()
	defer func(was int64) { defragMinWaste = was }(defragMinWaste)
	defragMinWaste = 1 << 60 // more than any disk has
	if _, _, err := c.Compact(t.Context(), r.options.DataDir); err == nil || !strings.Contains(err.Error(), "MiB free") || size() < before {
		t.Errorf("rewritten onto a disk without room: %v, %d bytes before, %d now", err, before, size())
	}
}

func TestAFullEtcdTakesWritesAfterAStartWithALargerQuotaAlone(t *testing.T) {
	r := newRig(t)
	r.options.QuotaBytes = 8 << 20
	first := r.start(t, "plain")
	fill(t, r.client(t))
	first.stop()
	again := r.launch(t, "plain")
	client, err := Dial(r.options.ClientAddress, r.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := WaitHealthy(t.Context(), r.options.ClientAddress, r.tls(t)); err == nil {
		t.Error("the alarm is gone with the quota as it was")
	}
	again.stop()

	r.options.QuotaBytes = 64 << 20 // the first one was overrun by what was written between two commits
	r.launch(t, "plain")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		if room, err := client.Room(ctx); err == nil && !room.Full {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the alarm stays")
		}
		time.Sleep(probeInterval)
	}
	put(t, r.client(t), "more", "value")
}
