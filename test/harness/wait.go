package harness

import (
	"context"
	"fmt"
	"testing"
	"time"
)

const (
	// Poll is how long Await pauses after a look that costs nothing.
	Poll = 50 * time.Millisecond
	// A look that takes a while, such as one that runs a command, takes the CPU away from what is waited for: the pause
	// after it is pauseFactor times as long as it took, and at most longestPause.
	pauseFactor  = 4
	longestPause = 500 * time.Millisecond
)

// Await calls cond until it returns nil, at most for bound, and returns its last
// error if it never does.
func Await(ctx context.Context, bound time.Duration, what string, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		began := time.Now()
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %s: %w", bound, what, err)
		case <-time.After(min(max(Poll, pauseFactor*time.Since(began)), longestPause)):
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
