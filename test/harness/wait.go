package harness

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Poll is how often conditions are looked at.
const Poll = 50 * time.Millisecond

// Await calls cond until it returns nil, at most for bound, and returns its last
// error if it never does.
func Await(ctx context.Context, bound time.Duration, what string, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	tick := time.NewTicker(Poll)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %s: %w", bound, what, err)
		case <-tick.C:
		}
	}
}

// Eventually fails the test unless cond returns nil within bound.
func Eventually(t testing.TB, bound time.Duration, what string, cond func() error) {
	t.Helper()
	if err := Await(t.Context(), bound, what, cond); err != nil {
		t.Fatal(err)
	}
}
