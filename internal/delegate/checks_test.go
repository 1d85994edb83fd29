package delegate

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

// failing are the names of those checks that fail.
func failing(checks []healthz.HealthChecker) []string {
	out := []string{}
	for _, c := range checks {
		if c.Check(nil) != nil {
			out = append(out, c.Name())
		}
	}
	return out
}

func names(checks []healthz.HealthChecker) []string {
	var out []string
	for _, c := range checks {
		out = append(out, c.Name())
	}
	return out
}

func TestTheChecksOfADelegateStandForWhatItSays(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	l := e.live("first")
	var etcd atomic.Bool
	var asked atomic.Int32
	etcd.Store(true)
	l.SetChecks(func() []*handshakev1.Check {
		asked.Add(1)
		return []*handshakev1.Check{{Name: "ping", Ok: true}, {Name: "etcd", Ok: etcd.Load()}, {Name: "crds", Ok: true}}
	})
	e.prepared(l)
	for _, required := range []bool{true, false} {
		checks := e.ReadyChecks(t.Context(), required, later, map[string]bool{"ping": true})
		if got := names(checks); !slices.Equal(got, []string{"tier-extensions", "etcd", "crds"}) {
			t.Fatalf("the checks are %v", got)
		}
		if got := failing(checks); !slices.Equal(got, []string{"tier-extensions"}) {
			t.Errorf("required %v: while it starts, %v fail", required, got)
		}
	}
	l.Reach(tier.Ready)
	e.wait("ready", handshake.At(tier.Ready))
	etcd.Store(false)
	checks := e.ReadyChecks(t.Context(), true, later, nil)
	before := asked.Load()
	if got := failing(checks); !slices.Equal(got, []string{"etcd"}) {
		t.Errorf("%v fail, want etcd", got)
	}
	if n := asked.Load() - before; n != 1 {
		t.Errorf("one request to /readyz asked %d times", n)
	}
	required, dispensable := checks, e.ReadyChecks(t.Context(), false, later, nil)
	e.lose(l)
	for _, c := range required {
		if c.Check(nil) == nil {
			t.Errorf("%s passes though its tier is required and away", c.Name())
		}
	}
	if got := failing(dispensable); len(got) != 0 {
		t.Errorf("%v fail though the tier can be done without", got)
	}
}

// later is a deadline that no test sees.
var later = time.Now().Add(time.Hour)

// Else the head would never be ready beside an extensions that hangs.
func TestADelegateThatOneCanDoWithoutIsNotWaitedForForEver(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	l := e.live("first")
	l.SetChecks(func() []*handshakev1.Check { return []*handshakev1.Check{{Name: "crds"}} })
	e.prepared(l)
	over := time.Now().Add(-time.Second)
	if got := failing(e.ReadyChecks(t.Context(), false, over, nil)); len(got) != 0 {
		t.Errorf("%v fail", got)
	}
	if got := failing(e.ReadyChecks(t.Context(), true, over, nil)); !slices.Equal(got, []string{"tier-extensions", "crds"}) {
		t.Errorf("one that is needed: %v fail", got)
	}
}

func TestWhileADelegateIsAwayItsChecksAreNotKnown(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	for _, required := range []bool{true, false} {
		checks := e.ReadyChecks(t.Context(), required, later, nil)
		if got := names(checks); !slices.Equal(got, []string{"tier-extensions"}) {
			t.Errorf("the checks are %v", got)
		}
		if got := len(failing(checks)) > 0; got != required {
			t.Errorf("required %v: fails %v", required, got)
		}
	}
}
