package serving

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
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

// As the tier that forwards it finds out by upstream's rules.
func TestAWatchIsKnownHoweverItIsSpelt(t *testing.T) {
	for target, want := range map[string]bool{
		"/api/v1/pods?watch=1":                          true,
		"/api/v1/pods?%77atch=1":                        true,
		"/api/v1/pods?labelSelector=a%3Db&wa%74ch=true": true,
		"/api/v1/pods?watch":                            true,
		"/api/v1/watch/pods":                            true,
		"/api/v1/pods?labelSelector=a%3Db":              false,
		"/api/v1/pods":                                  false,
		"/healthz?watch=1":                              false,
	} {
		if got := isWatch(httptest.NewRequest("GET", target, nil)); got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
	if isWatch(httptest.NewRequest("POST", "/api/v1/pods?watch=1", nil)) {
		t.Error("a POST is a watch")
	}
}
