package serving

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestToldToStopIsNoFailureButToldOfBeforeItWasReady(t *testing.T) {
	failure := errors.New("no disk")
	for name, c := range map[string]struct {
		err, cause error
		ready      bool
		want       error
	}{
		"told when ready":                {cause: context.Canceled, ready: true},
		"told when ready, cut short":     {err: fmt.Errorf("hook: %w", context.Canceled), cause: context.Canceled, ready: true},
		"told before it was ready":       {cause: context.Canceled, want: context.Canceled},
		"told, and the stop failed":      {err: failure, cause: context.Canceled, ready: true, want: failure},
		"told too early, the stop fails": {err: failure, cause: context.Canceled, want: failure},
		"failed":                         {err: failure, want: failure},
		"the listener failed":            {cause: failure, ready: true, want: failure},
	} {
		if got := outcome(c.err, c.cause, c.ready); !errors.Is(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
