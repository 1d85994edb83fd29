package custody

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What is written until extensions has stopped is in the target, and what is deleted is
// not; what is none of extensions' stays where it is.
func TestAMoveTakesAllThatIsExtensionsAndNothingElse(t *testing.T) {
	main, own := start(t), start(t)
	extensions, others := fill(t, main)
	halted := false
	done := move(t, main, main, own, func() {
		halted = true
		put(t, main, "/registry/example.com/gadgets/default/late", "late")
		put(t, main, "/registry/example.com/gadgets/default/g1", "changed")
		put(t, main, "/registry/apiextensions.k8s.io/customresourcedefinitions/new.late.example.com", "crd")
		put(t, main, "/registry/late.example.com/new/n", "n")
		remove(t, main, "/registry/example.com/gadgets/default/g2")
	})
	extensions["/registry/example.com/gadgets/default/late"] = "late"
	extensions["/registry/example.com/gadgets/default/g1"] = "changed"
	extensions["/registry/apiextensions.k8s.io/customresourcedefinitions/new.late.example.com"] = "crd"
	extensions["/registry/late.example.com/new/n"] = "n"
	delete(extensions, "/registry/example.com/gadgets/default/g2")
	if got := stored(t, own); !halted || !maps.Equal(got, extensions) {
		t.Errorf("halted: %v, %d keys, want %d: %v", halted, len(got), len(extensions), got)
	}
	if want := int64(len(extensions) - 1); done.Keys != want { // orphans are not counted
		t.Errorf("told of %d keys, want %d", done.Keys, want)
	}
	maps.Copy(others, extensions)
	if got := stored(t, main); !maps.Equal(got, others) {
		t.Errorf("the source has changed: %v", got)
	}
	if err := allowed(t, main, own); err != nil {
		t.Errorf("the new etcd is not taken: %v", err)
	}
	if err := allowed(t, main, nil); !errors.As(err, new(*Misplaced)) || !strings.Contains(err.Error(), "--extensions-etcd-servers") {
		t.Errorf("the etcd that was left is served from: %v", err)
	}
}

// A resource version of the source is too old for the target, never of its future.
func TestResourceVersionsOfBeforeAreTooOld(t *testing.T) {
	main, own := start(t), start(t)
	fill(t, main)
	for i := range 3000 {
		put(t, main, "/registry/pods/default/p", fmt.Sprint(i))
	}
	defer func(n int64) { raiseRound = n }(raiseRound)
	raiseRound = 1000
	var last int64
	done := move(t, main, main, own, func() {
		for range 2000 { // more than was made room for
			last = put(t, main, "/registry/example.com/gadgets/default/g1", "again")
		}
	})
	if done.Raised < 3000 {
		t.Errorf("raised by %d", done.Raised)
	}
	all, err := own.Get(t.Context(), "/registry/example.com/gadgets/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	for _, kv := range all.Kvs {
		if seen[kv.ModRevision] {
			t.Errorf("two objects have the resource version %d", kv.ModRevision)
		}
		seen[kv.ModRevision] = true
		if string(kv.Key) == "/registry/example.com/gadgets/default/g1" && kv.ModRevision <= last {
			t.Errorf("%s is at %d, was at %d", kv.Key, kv.ModRevision, last)
		}
	}
	watch := own.Watch(t.Context(), "/registry/example.com/", clientv3.WithPrefix(), clientv3.WithRev(last+1))
	if got := <-watch; !errors.Is(got.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a watch from the source's last revision: %v, %d events", got.Err(), len(got.Events))
	}
	if _, err := own.Get(t.Context(), "/registry/example.com/gadgets/default/g1", clientv3.WithRev(last)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a read at the source's last revision: %v", err)
	}
}

// Too far apart to be made up for by writing: said at once, with the way out.
func TestAGapThatIsTooLargeIsRefused(t *testing.T) {
	defer func(n int64) { maxRaise = n }(maxRaise)
	maxRaise = 10
	main, own := start(t), start(t)
	extensions, _ := fill(t, main)
	_, err := (&Move{Main: main, Source: main, Target: own, Prefix: prefix, Say: t.Logf, Halt: func(context.Context) error {
		t.Error("halted for nothing")
		return nil
	}}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--bump-revision") || len(stored(t, main)) < len(extensions) {
		t.Error(err)
	}
}

// Wherever a move ends, the source counts until the end, and the next move takes what is
// there then.
func TestAMoveThatWasInterruptedIsRunAgain(t *testing.T) {
	main, own := start(t), start(t)
	fill(t, main)
	why := errors.New("interrupted")
	_, err := (&Move{Main: main, Source: main, Target: own, Prefix: prefix, Say: t.Logf, Halt: func(context.Context) error { return why }}).Run(t.Context())
	if !errors.Is(err, why) || len(stored(t, own)) == 0 {
		t.Fatalf("%v", err)
	}
	if err := allowed(t, main, nil); err != nil {
		t.Errorf("the source is not taken: %v", err)
	}
	if err := allowed(t, main, own); !errors.As(err, new(*Misplaced)) {
		t.Errorf("half a copy is served from: %v", err)
	}
	// A whole CRD goes, and an object changes.
	remove(t, main, "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.a.example.com")
	remove(t, main, "/registry/a.example.com/widgets/cluster-wide")
	put(t, main, "/registry/example.com/gadgets/default/g7", "after")
	move(t, main, main, own, nil)
	got := stored(t, own)
	if got["/registry/example.com/gadgets/default/g7"] != "after" || len(got) != 252 {
		t.Errorf("%d keys: %v", len(got), got)
	}
	if _, there := got["/registry/a.example.com/widgets/cluster-wide"]; there {
		t.Error("what was deleted between the attempts is there again")
	}
}

// Back in the main etcd is what was in the other, not what was left behind before; what
// others keep there stays as it is.
func TestThereAndBackAgain(t *testing.T) {
	main, own := start(t), start(t)
	fill(t, main)
	put(t, main, "/registry/aggregated.example.com/things/t", "then") // of an aggregated server
	move(t, main, main, own, nil)
	put(t, own, "/registry/example.com/gadgets/default/g1", "elsewhere")
	remove(t, own, "/registry/example.com/gadgets/default/g2")
	put(t, main, "/registry/aggregated.example.com/things/t", "now")
	put(t, main, "/registry/aggregated.example.com/things/u", "new")
	want := stored(t, main)
	want["/registry/example.com/gadgets/default/g1"] = "elsewhere"
	delete(want, "/registry/example.com/gadgets/default/g2")

	move(t, main, own, main, nil)
	if got := stored(t, main); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if err := allowed(t, main, nil); err != nil {
		t.Errorf("the main etcd is not taken: %v", err)
	}
	if err := allowed(t, main, own); !errors.As(err, new(*Misplaced)) {
		t.Errorf("the etcd that was left is served from: %v", err)
	}
	put(t, main, "/registry/example.com/gadgets/default/g1", "a third time")
	move(t, main, main, own, nil)
	if got := stored(t, own)["/registry/example.com/gadgets/default/g1"]; got != "a third time" {
		t.Errorf("in the other etcd again it is %q", got)
	}
}

func TestAMoveTouchesNothingOfAnotherCluster(t *testing.T) {
	for name, foreign := range map[string]string{
		"data":   "/registry/other.example.com/things/t",
		"a name": under(prefix).name(),
	} {
		t.Run(name, func(t *testing.T) {
			main, own := start(t), start(t)
			fill(t, main)
			put(t, own, foreign, "mine")
			_, err := (&Move{Main: main, Source: main, Target: own, Prefix: prefix, Say: t.Logf}).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), "another cluster") {
				t.Errorf("%v", err)
			}
			if answer, err := own.Get(t.Context(), "", clientv3.WithFromKey()); err != nil || len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != "mine" {
				t.Errorf("%v %v", answer, err)
			}
		})
	}
	main := start(t)
	extensions, others := fill(t, main)
	if _, err := (&Move{Main: main, Source: main, Target: alias(t, main), Prefix: prefix, Say: t.Logf}).Run(t.Context()); !errors.Is(err, ErrThere) {
		t.Errorf("to itself: %v", err)
	}
	if got := stored(t, main); len(got) != len(extensions)+len(others) {
		t.Errorf("%v", got)
	}
}

// alias is the same etcd under another client.
func alias(t *testing.T, c *clientv3.Client) *clientv3.Client {
	t.Helper()
	again, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

// Somebody else goes on writing to the source: the move does not end as if he did not.
func TestAWriterThatDoesNotStopIsFoundOut(t *testing.T) {
	main, own := start(t), start(t)
	fill(t, main)
	ctx, cancel := context.WithCancel(t.Context())
	wrote := make(chan struct{})
	t.Cleanup(func() { cancel(); <-wrote })
	go func() {
		defer close(wrote)
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = main.Put(ctx, "/registry/example.com/gadgets/default/g1", fmt.Sprint(i))
		}
	}()
	_, err := (&Move{Main: main, Source: main, Target: own, Prefix: prefix, Say: t.Logf, Halt: func(context.Context) error { return nil }}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "goes on writing") {
		t.Fatal(err)
	}
	if err := allowed(t, main, nil); err != nil {
		t.Errorf("the source is not taken afterwards: %v", err)
	}
}

func TestWhatIsLeftIsDeletedOnlyWhereItIsNotServedFrom(t *testing.T) {
	main, own := start(t), start(t)
	extensions, others := fill(t, main)
	keeper := Keeper{Main: main, Prefix: prefix}
	if _, err := keeper.DeleteLeftover(t.Context(), main); err == nil {
		t.Error("deleted where it is")
	}
	move(t, main, main, own, nil)
	if _, err := keeper.DeleteLeftover(t.Context(), own); err == nil {
		t.Error("deleted where it is now")
	}
	deleted, err := keeper.DeleteLeftover(t.Context(), main)
	if err != nil || deleted != int64(len(extensions)-1) {
		t.Errorf("%d deleted, %v", deleted, err)
	}
	others["/registry/gone.example.com/orphans/default/o"] = "o" // may be somebody else's
	if got := stored(t, main); !maps.Equal(got, others) {
		t.Errorf("%v", got)
	}
	if got := stored(t, own); !maps.Equal(got, extensions) {
		t.Errorf("%v", got)
	}
}

func TestWhatIsNotTheSameIsFoundOut(t *testing.T) {
	main, own := start(t), start(t)
	fill(t, main)
	c := &copier{keys: under(prefix), source: main, target: own}
	revision, err := revisionOf(t.Context(), main)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(){
		"nothing":       func() {},
		"a value":       func() { put(t, own, "/registry/example.com/gadgets/default/g1", "other") },
		"one more":      func() { put(t, own, "/registry/example.com/gadgets/default/more", "1") },
		"one less":      func() { remove(t, own, "/registry/example.com/gadgets/default/g1") },
		"no orphan":     func() { remove(t, own, "/registry/gone.example.com/orphans/default/o") },
		"no definition": func() { remove(t, own, "/registry/apiextensions.k8s.io/customresourcedefinitions/gadgets.example.com") },
	} {
		if err := c.mirror(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
		damage()
		if same, _, err := c.compare(t.Context()); err != nil || same != (name == "nothing") {
			t.Errorf("%s: the same: %v, %v", name, same, err)
		}
	}
}
