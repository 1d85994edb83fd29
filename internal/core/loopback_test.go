package core

import (
	"errors"
	"net/http"
	"testing"

	"k8s.io/client-go/rest"
)

// transport remembers what it was asked, and answers with code, or 200.
type transport struct {
	asked *http.Request
	code  int
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.asked = r
	return &http.Response{StatusCode: max(t.code, http.StatusOK), Body: http.NoBody, Request: r}, nil
}

// The head waits for core, and core's admission for discovery: neither would ever
// start.
func TestCoreDoesNotNeedTheHeadToKnowItsOwnKinds(t *testing.T) {
	own, away := &rest.Config{Host: "https://127.0.0.1:1"}, errors.New("it is away")
	l := &loopback{}
	if err := l.split(own, &rest.Config{Host: "https://127.0.0.1:2"}, func() error { return away }); err != nil {
		t.Fatal(err)
	}
	core, head := &transport{}, &transport{code: http.StatusServiceUnavailable}
	l.head = head
	l.follow(listed)
	split := own.WrapTransport(core)
	get := func(path string) (*http.Response, error) {
		core.asked, head.asked = nil, nil
		r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return split.RoundTrip(r)
	}
	if _, err := get("/apis"); err != nil || core.asked == nil || head.asked != nil {
		t.Errorf("while the head is away: %v, asked core %v, the head %v", err, core.asked, head.asked)
	}
	if _, err := get("/apis/example.org/v1/things"); !errors.Is(err, away) || core.asked != nil {
		t.Errorf("what core does not serve: %v, asked core %v", err, core.asked)
	}
	away = nil
	if answer, err := get("/apis"); err != nil || answer.StatusCode != http.StatusOK || core.asked == nil {
		t.Errorf("while the head does not know yet: %v, %v, asked core %v", answer, err, core.asked)
	}
	head.code = http.StatusOK
	if _, err := get("/apis"); err != nil || core.asked != nil {
		t.Errorf("when the head knows: %v, asked core %v", err, core.asked)
	}
	// The kubernetes Service must not lead to a head that does not serve yet.
	if _, err := get("/readyz"); err != nil || core.asked != nil {
		t.Errorf("whether the API is ready: %v, asked core %v", err, core.asked)
	}
	// From now on core's own document would be a step back: kinds of others exist.
	head.code = http.StatusServiceUnavailable
	if answer, err := get("/apis"); err != nil || answer.StatusCode != http.StatusServiceUnavailable || core.asked != nil {
		t.Errorf("when a new head does not know yet: %v, %v, asked core %v", answer, err, core.asked)
	}
}

func TestCoreAsksItselfForWhatItServesAndTheHeadForTheRest(t *testing.T) {
	own := &rest.Config{Host: "https://127.0.0.1:1"}
	l := &loopback{}
	if err := l.split(own, &rest.Config{Host: "https://127.0.0.1:2"}, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	core, head := &transport{}, &transport{}
	l.head = head
	split := own.WrapTransport(core)
	ask := func(path string) (host string, fromHead bool) {
		t.Helper()
		core.asked, head.asked = nil, nil
		r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := split.RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		if r.URL.Host != "127.0.0.1:1" {
			t.Errorf("%s: the caller's request was changed: a round tripper must not", path)
		}
		if (core.asked == nil) == (head.asked == nil) {
			t.Fatalf("%s: asked both or nobody", path)
		}
		if head.asked != nil {
			return head.asked.URL.Host, true
		}
		return core.asked.URL.Host, false
	}
	if _, fromHead := ask("/apis"); fromHead {
		t.Error("the head is asked before core knows what it serves: neither is there yet")
	}
	l.follow(listed)
	for path, want := range map[string]bool{
		"/api/v1/namespaces/default":   false,
		"/api":                         false,
		"/apis/apps/v1/deployments":    false,
		"/version":                     false,
		"/apis":                        true, // discovery of the API as a whole
		"/apis/apps":                   true, // a CRD may add versions to the group
		"/apis/apps/v9/widgets":        true,
		"/apis/example.org/v1/things":  true,
		"/openapi/v3/apis/example.org": true,
		"/openapi/v2":                  true,
	} {
		host, fromHead := ask(path)
		if fromHead != want {
			t.Errorf("%s: asked the head: %v, want %v", path, fromHead, want)
		}
		if fromHead && host != "127.0.0.1:2" {
			t.Errorf("%s: the head was sought at %s", path, host)
		}
	}
}
