package core

import (
	"net/http"
	"testing"

	"k8s.io/client-go/rest"
)

// transport answers with whom it was asked for.
type transport struct{ asked *http.Request }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.asked = r
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

func TestCoreAsksItselfForWhatItServesAndTheHeadForTheRest(t *testing.T) {
	own := &rest.Config{Host: "https://127.0.0.1:1"}
	l := &loopback{}
	if err := l.split(own, &rest.Config{Host: "https://127.0.0.1:2"}); err != nil {
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
