package serving

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apiserver/pkg/server/healthz"
)

// withChecks is a handler with upstream's /readyz. asked counts how often /readyz
// itself is asked, first how often it says yes for the first time.
type withChecks struct {
	*http.ServeMux
	asked, first atomic.Int64
	fault        error
}

func newWithChecks() *withChecks {
	h := &withChecks{ServeMux: http.NewServeMux()}
	healthz.InstallPathHandlerWithHealthyFunc(h.ServeMux, "/readyz", func() { h.first.Add(1) },
		healthz.PingHealthz, healthz.NamedCheck("poststarthook/rbac/bootstrap-roles", func(*http.Request) error { return h.fault }))
	return h
}

func (h *withChecks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/readyz" {
		h.asked.Add(1)
	}
	h.ServeMux.ServeHTTP(w, r)
}

func TestAProcessThatAsksItselfIsNotCounted(t *testing.T) {
	h := newWithChecks()
	h.fault = errors.New("not yet")
	r := &readiness{handler: h}
	for range 10 {
		if r.ready() {
			t.Fatal("ready though a check fails")
		}
	}
	if h.asked.Load() != 1 || h.first.Load() != 0 {
		t.Errorf("before: /readyz was asked %d times and said yes for the first time %d times", h.asked.Load(), h.first.Load())
	}
	h.fault = nil
	for range 10 {
		if !r.ready() {
			t.Fatal("not ready though all checks pass")
		}
	}
	// The server itself must learn that it is ready.
	if h.asked.Load() != 2 || h.first.Load() != 1 {
		t.Errorf("after: /readyz was asked %d times and said yes for the first time %d times", h.asked.Load(), h.first.Load())
	}
	h.fault = errors.New("lost")
	if r.ready() {
		t.Error("still ready though a check fails")
	}
}

func TestChecksAreToldOneByOne(t *testing.T) {
	h := newWithChecks()
	h.fault = errors.New("not yet")
	checks := (&readiness{handler: h}).checks()
	if len(checks) != 2 || checks[0].GetName() != "ping" || !checks[0].GetOk() || checks[1].GetName() != "poststarthook/rbac/bootstrap-roles" || checks[1].GetOk() {
		t.Errorf("got %v", checks)
	}
}

func TestWithoutReadyzNothingIsReady(t *testing.T) {
	mux := http.NewServeMux()
	r := &readiness{handler: mux}
	if r.ready() || len(r.checks()) > 0 {
		t.Error("ready without a check")
	}
	// A server installs it late; what it says then counts.
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("[+]ping ok\nreadyz check passed\n"))
	})
	mux.HandleFunc("/readyz/ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	if !r.ready() {
		t.Error("not ready though its one check passes")
	}
	if checks := r.checks(); len(checks) != 1 || strings.Contains(checks[0].GetName(), "]") {
		t.Errorf("got %v", checks)
	}
}

func TestOnlyAPluginThatIsAwayMayBeMissing(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		failing map[string]error
		want    bool
	}{
		"nothing":                     {nil, false},
		"the plugin":                  {map[string]error{"kms-providers": away}, true},
		"and what waits for it":       {map[string]error{"kms-providers": away, "informer-sync": errors.New("2 informers not started yet: [*v1.Secret]"), "poststarthook/storage-readiness": away, "tier-core": away}, true},
		"and other informers":         {map[string]error{"kms-providers": away, "informer-sync": errors.New("3 informers not started yet: [*v1.Secret *v1.Role]")}, false},
		"and who may do what":         {map[string]error{"kms-providers": away, "poststarthook/rbac/bootstrap-roles": away}, false},
		"only what might wait for it": {map[string]error{"informer-sync": errors.New("1 informers not started yet: [*v1.Secret]")}, false},
	} {
		mux := http.NewServeMux()
		var checks []healthz.HealthChecker
		for _, check := range []string{"ping", "kms-providers", "informer-sync", "poststarthook/storage-readiness", "poststarthook/rbac/bootstrap-roles", "tier-core"} {
			checks = append(checks, healthz.NamedCheck(check, func(*http.Request) error { return c.failing[check] }))
		}
		healthz.InstallPathHandlerWithHealthyFunc(mux, "/readyz", nil, checks...)
		if got := (&readiness{handler: mux}).lacksPluginAlone(); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
