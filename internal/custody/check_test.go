package custody

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestAnEtcdOfItsOwnIsTakenWhereThereWasNothing(t *testing.T) {
	main, own, other := start(t), start(t), start(t)
	put(t, main, "/registry/pods/default/p", "p")
	put(t, main, "/registry/apiregistration.k8s.io/apiservices/v1.", "local")
	for range 2 { // at the first start, and at the next
		if err := allowed(t, main, own); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere, named := start(t), start(t)
	if err := allowed(t, elsewhere, named); err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]error{
		"with that of another cluster": allowed(t, main, named),
		"without":                      allowed(t, main, nil), "with another": allowed(t, main, other), "of another cluster": allowed(t, start(t), own),
	} {
		if !errors.As(wrong, new(*Misplaced)) {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}

// The first start may end between its three writes.
func TestAFirstStartThatWasCutShortIsFinished(t *testing.T) {
	main, own, other := start(t), start(t), start(t)
	if err := (record{Holder: "x", Known: []string{"x"}, Fresh: true}).write(t.Context(), main, under(prefix)); err != nil {
		t.Fatal(err)
	}
	put(t, other, "/registry/other.example.com/things/t", "t")
	if err := allowed(t, main, other); !errors.As(err, new(*Misplaced)) {
		t.Errorf("one with data of others is taken: %v", err)
	}
	if err := allowed(t, main, own); err != nil {
		t.Fatal(err)
	}
	if r, err := readRecord(t.Context(), main, under(prefix)); err != nil || r.Fresh || r.Holder != "x" {
		t.Errorf("%+v %v", r, err)
	}
}

func TestAnEtcdOfItsOwnIsNotTakenWhereThereIsSomething(t *testing.T) {
	for _, key := range []string{
		"/registry/apiextensions.k8s.io/customresourcedefinitions/gadgets.example.com", "/registry/gone.example.com/orphans/o",
	} {
		main, own := start(t), start(t)
		put(t, main, "/registry/gone", "no group") // sorts just before
		put(t, main, key, "v")
		if err := allowed(t, main, own); !errors.As(err, new(*Misplaced)) {
			t.Errorf("%s: %v", key, err)
		}
		if err := allowed(t, main, nil); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// Who serves is told when a move begins, and who wants to waits until it has ended, by
// itself if who moved has died.
func TestNobodyServesDuringAMove(t *testing.T) {
	main, own := start(t), start(t)
	fill(t, main)
	followed := make(chan error, 1)
	go func() { followed <- Keeper{Main: main, Prefix: prefix}.Follow(t.Context()) }()
	m := &Move{Main: main, Source: main, Target: own, Prefix: prefix, Say: t.Logf}
	f, err := m.fence(t.Context(), under(prefix))
	if err != nil {
		t.Fatal(err)
	}
	if err := <-followed; !errors.Is(err, errMoving) {
		t.Errorf("who serves is told: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := (Keeper{Main: main, Prefix: prefix}).Await(ctx, func(error) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who wants to serve is told: %v", err)
	}
	if _, err := m.fence(t.Context(), under(prefix)); err == nil {
		t.Error("two move at once")
	}
	// A mover whose lease has ended must not commit.
	f.drop()
	if err := m.commit(t.Context(), under(prefix), "x", f); err == nil {
		t.Error("committed while others may serve")
	}
	if err := allowed(t, main, nil); err != nil {
		t.Errorf("after the move: %v", err)
	}
}

// Two that have read the same do not both write.
func TestOnlyOneOfTwoWritesTheRecord(t *testing.T) {
	main := start(t)
	read, err := readRecord(t.Context(), main, under(prefix))
	if err != nil {
		t.Fatal(err)
	}
	if err := read.with("one").write(t.Context(), main, under(prefix)); err != nil {
		t.Fatal(err)
	}
	if err := read.with("two").write(t.Context(), main, under(prefix)); err == nil {
		t.Error("the second wrote over the first")
	}
}
