package custody

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// relocation is one between two etcds; tell may be nil.
func relocation(source, target *clientv3.Client, tell func(step string, done int64)) Relocation {
	return Relocation{Source: source, Target: target, Prefix: prefix, ID: "id", Tell: func(step string, done, _ int64) {
		if tell != nil {
			tell(step, done)
		}
	}}
}

// fillAll stores what a cluster has, and what ends by itself.
func fillAll(t *testing.T, c *clientv3.Client) {
	t.Helper()
	fill(t, c)
	remove(t, c, "/elsewhere/example.com/gadgets/default/g1")
	put(t, c, "compact_rev_key", "17")
	for i, seconds := range []int64{3600, 3600, 15} {
		lease, err := c.Grant(t.Context(), seconds)
		if err != nil {
			t.Fatal(err)
		}
		for k := range 3 {
			if _, err := c.Put(t.Context(), fmt.Sprintf("/registry/events/default/e%d-%d", i, k), "event", clientv3.WithLease(lease.ID)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// whole is all below the prefix, as it is now.
func whole(t *testing.T, c *clientv3.Client) map[string]*mvccpb.KeyValue {
	t.Helper()
	return wholeAt(t, c, 0)
}

// wholeAt is all as it was at a revision: what ends by itself may have done so since.
func wholeAt(t *testing.T, c *clientv3.Client, revision int64) map[string]*mvccpb.KeyValue {
	t.Helper()
	answer, err := c.Get(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(revision))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*mvccpb.KeyValue{}
	for _, kv := range answer.Kvs {
		all[string(kv.Key)] = kv
	}
	return all
}

func values(all map[string]*mvccpb.KeyValue) map[string]string {
	of := map[string]string{}
	for key, kv := range all {
		of[key] = string(kv.Value)
	}
	return of
}

// All that is below the prefix is in the target with what it has to live, above all that clients know; they are
// told that what they know is too old. Until then nobody may serve from there.
func TestARelocationTakesAllAndGoesForward(t *testing.T) {
	source, target := start(t), start(t)
	fillAll(t, source)
	var last int64
	for range 2000 {
		last = put(t, source, "/registry/pods/default/p", "again")
	}
	r := relocation(source, target, nil)
	done, err := r.Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := Arriving(t.Context(), target, prefix); !errors.Is(err, ErrArriving) {
		t.Errorf("before it has arrived: %v", err)
	}
	if err := r.Arrive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Arriving(t.Context(), target, prefix); err != nil {
		t.Errorf("after it has arrived: %v", err)
	}
	want, got := wholeAt(t, source, done.From), whole(t, target)
	if !maps.Equal(values(got), values(want)) || done.Keys != int64(len(want)) || done.Ranges < 5 {
		t.Errorf("%d keys, want %d: told of %+v", len(got), len(want), done)
	}
	seen := map[int64]bool{}
	for key, kv := range got {
		if kv.ModRevision <= last || seen[kv.ModRevision] {
			t.Errorf("%s has the resource version %d, clients knew %d", key, kv.ModRevision, last)
		}
		seen[kv.ModRevision] = true
		if kv.Lease == 0 != (want[key].Lease == 0) {
			t.Errorf("%s: a lease before %v, now %v", key, want[key].Lease != 0, kv.Lease != 0)
		}
		if left, err := target.TimeToLive(t.Context(), clientv3.LeaseID(kv.Lease)); strings.HasPrefix(key, "/registry/events/default/e0") && (err != nil || left.TTL < 3000 || left.TTL > 3600) {
			t.Errorf("%s lives for %v %v", key, left, err)
		}
	}
	for _, revision := range []int64{1, last, done.From} {
		answer := <-target.Watch(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(revision))
		if !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
			t.Errorf("who watches from %d is told %v %v", revision, answer.Events, answer.Err())
		}
	}
	if answer, err := target.Get(t.Context(), "compact_rev_key"); err != nil || len(answer.Kvs) > 0 {
		t.Errorf("how far the source was compacted is told by the target: %v %v", answer, err)
	}
}

// Whatever makes a difference is found when all is read back.
func TestARelocationReadsBackAllOfIt(t *testing.T) {
	for name, wrong := range map[string]func(*testing.T, *clientv3.Client){
		"a value":  func(t *testing.T, c *clientv3.Client) { put(t, c, "/registry/example.com/gadgets/default/g7", "8") },
		"one less": func(t *testing.T, c *clientv3.Client) { remove(t, c, "/registry/services/specs/default/s") },
		"one more": func(t *testing.T, c *clientv3.Client) { put(t, c, "/registry/secrets/default/s", "s") },
		"no end":   func(t *testing.T, c *clientv3.Client) { put(t, c, "/registry/events/default/e0-0", "event") },
	} {
		source, target := start(t), start(t)
		fillAll(t, source)
		_, err := relocation(source, target, func(step string, done int64) {
			if step == "comparing" && done == 0 {
				wrong(t, target)
			}
		}).Copy(t.Context())
		if err == nil || !strings.Contains(err.Error(), "something else writes to it") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The source may be served from again before the next attempt: nothing of the first may
// have a resource version go back.
func TestARelocationThatWasCutShortGoesOn(t *testing.T) {
	source, target := start(t), start(t)
	fillAll(t, source)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := relocation(source, target, func(step string, done int64) {
		if step == "copying" && done == 200 {
			cancel()
		}
	}).Copy(ctx)
	if err == nil || len(whole(t, target)) < 50 {
		t.Fatalf("%v, %d keys", err, len(whole(t, target)))
	}
	if err := Arriving(t.Context(), target, prefix); !errors.Is(err, ErrArriving) {
		t.Errorf("half of it may be served from: %v", err)
	}
	const flipped = "/registry/apiextensions.k8s.io/customresourcedefinitions/gadgets.example.com"
	put(t, source, flipped, "other")
	for range 3000 {
		put(t, source, "/registry/health", "again")
	}
	was := put(t, source, flipped, "crd gadgets.example.com")
	remove(t, source, "/registry/a.example.com/widgets/cluster-wide")
	done, err := relocation(source, target, nil).Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := whole(t, target)
	if now := got[flipped]; now == nil || now.ModRevision <= was {
		t.Errorf("the resource version was %d, and is %v", was, now)
	}
	delete(got, under(prefix).arriving())
	if want := wholeAt(t, source, done.From); !maps.Equal(values(got), values(want)) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}
}

// What is somebody else's is overwritten only if asked to be, and nothing is left behind
// unsaid.
func TestARelocationTakesNoOtherPlace(t *testing.T) {
	source, target := start(t), start(t)
	fillAll(t, source)
	put(t, target, "/elsewhere/x", "theirs")
	put(t, target, "/registry/pods/default/theirs", "theirs")
	r := relocation(source, target, nil)
	if _, err := r.Copy(t.Context()); !errors.As(err, new(*NotEmptyError)) || len(whole(t, target)) != 1 {
		t.Errorf("over what is there: %v", err)
	}
	r.ID = "of another cluster"
	r.Overwrite = true
	done, err := r.Copy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r = relocation(source, target, nil)
	if _, err := r.Copy(t.Context()); !errors.As(err, new(*NotEmptyError)) {
		t.Errorf("over what another cluster is moving there: %v", err)
	}
	got := whole(t, target)
	delete(got, under(prefix).arriving())
	if !maps.Equal(values(got), values(wholeAt(t, source, done.From))) {
		t.Errorf("after it was overwritten: %d keys", len(got))
	}
	if answer, err := target.Get(t.Context(), "/elsewhere/x"); err != nil || len(answer.Kvs) != 1 {
		t.Errorf("what is below another prefix: %v %v", answer, err)
	}
	put(t, source, "/other/pods/default/p", "p")
	if _, err := r.Copy(t.Context()); err == nil || !strings.Contains(err.Error(), "/other/pods/default/p") {
		t.Errorf("with keys below another prefix: %v", err)
	}
}

// A cluster that was left has a mark, and so has what became of it: it goes on to another one as all else does, which stays
// marked by whose it is.
func TestWhatWasLeftOnceGoesOnToAnother(t *testing.T) {
	source, target := start(t), start(t)
	if _, err := Leave(t.Context(), source, prefix); err == nil || !strings.Contains(err.Error(), "--etcd-prefix") {
		t.Errorf("with nothing below the prefix: %v", err)
	}
	fillAll(t, source)
	stay, err := Leave(t.Context(), source, prefix)
	if left := Arriving(t.Context(), source, prefix); err != nil || !errors.Is(left, ErrLeft) {
		t.Fatalf("%v, %v", err, left)
	}
	if err := stay(t.Context()); err != nil || Arriving(t.Context(), source, prefix) != nil {
		t.Errorf("it does not stay: %v", err)
	}
	for range 2 { // the second may come after the first was done
		if stay, err = Leave(t.Context(), source, prefix); err != nil {
			t.Fatal(err)
		}
	}
	if err := stay(t.Context()); err != nil || !errors.Is(Arriving(t.Context(), source, prefix), ErrLeft) {
		t.Errorf("who left before, and may be served from: %v", err)
	}
	r := relocation(source, target, nil)
	for range 2 {
		if _, err := r.Copy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if begun, err := r.Begun(t.Context()); err != nil || !begun {
			t.Errorf("it is not marked by whose it is: %v %v", begun, err)
		}
	}
	if err := r.Arrive(t.Context()); err != nil || Arriving(t.Context(), target, prefix) != nil {
		t.Errorf("after it has arrived: %v", err)
	}
}
