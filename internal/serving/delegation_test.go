package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"testing"
	"time"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/warning"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
)

// delegated sends r along the chain to another tier and returns what leaves for
// it, nil if nothing does, and what the client gets.
func delegated(t *testing.T, r *http.Request, authn authenticator.RequestFunc) (*http.Request, *httptest.ResponseRecorder) {
	t.Helper()
	var left *http.Request
	handler := WithDelegation(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { left = r }), newConfigOf(t), authn)
	w := call(handler, r)
	return left, w
}

func TestADelegatedRequestCarriesWhoAsksAndFromWhere(t *testing.T) {
	jane := &user.DefaultInfo{Name: "jane", Groups: []string{"a"}}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
	r.RemoteAddr = "203.0.113.7:4711"
	r.Header[identity.Header] = []string{"left over"}
	before := time.Now()
	left, w := delegated(t, r, func(r *http.Request) (*authenticator.Response, bool, error) {
		audit.AddAuditAnnotation(r.Context(), "stale", "yes")
		warning.AddWarning(r.Context(), "", "use another token")
		return &authenticator.Response{User: jane}, true, nil
	})
	if left == nil {
		t.Fatalf("nothing left: %d %s", w.Code, w.Body)
	}
	got, err := identity.Parse(left.Header)
	if err != nil {
		t.Fatal(err)
	}
	if got.ReceivedAt.Before(before) || got.ReceivedAt.After(time.Now()) {
		t.Errorf("received at %v", got.ReceivedAt)
	}
	got.ReceivedAt, got.AuditID = time.Time{}, ""
	want := identity.Identity{User: jane, ClientAddress: "203.0.113.7:4711", AuditAnnotations: map[string]string{"stale": "yes"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if w.Header().Get("Warning") == "" {
		t.Error("the client is not warned")
	}
	if _, ok := request.RequestInfoFrom(left.Context()); !ok {
		t.Error("the forwarder cannot tell a watch")
	}
}

// Audit events of all tiers meet under the ID that the client was told.
func TestTheAuditIDThatTheClientIsToldGoesAlong(t *testing.T) {
	known := func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "jane"}}, true, nil
	}
	for _, given := range []string{"", "6a9d7a5e-1111-2222-3333-444444444444"} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
		if given != "" {
			r.Header.Set(auditinternal.HeaderAuditID, given)
		}
		left, w := delegated(t, r, known)
		carried, err := identity.Parse(left.Header)
		told, header := w.Header().Get(auditinternal.HeaderAuditID), left.Header.Get(auditinternal.HeaderAuditID)
		if err != nil || told == "" || told != carried.AuditID || (given != "" && told != given) {
			t.Errorf("given %q, told %q, carried %q, %v", given, told, carried.AuditID, err)
		}
		if header != given {
			t.Errorf("given %q, the header became %q", given, header)
		}
	}
}

func TestNobodyIsDelegatedWithoutBeingKnown(t *testing.T) {
	for name, authn := range map[string]authenticator.RequestFunc{
		"unknown": func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil },
		"bad":     func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, errors.New("bad token") },
		"known, bad": func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{}, true, errors.New("bad")
		},
	} {
		left, w := delegated(t, httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil), authn)
		if left != nil || w.Code != http.StatusUnauthorized {
			t.Errorf("%s: got %d, delegated: %v", name, w.Code, left != nil)
		}
		if w.Header().Get(auditinternal.HeaderAuditID) == "" {
			t.Errorf("%s: a 401 without an Audit-ID", name)
		}
	}
}

func TestWithoutAUserInItsContextNothingIsStamped(t *testing.T) {
	w := call(stamp(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("forwarded as nobody") })),
		httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("got %d", w.Code)
	}
}

// A watch that a reverse proxy passes on ends as one that the process serves, and what
// breaks for another reason is broken.
func TestAProxiedWatchEndsCleanlyWhenTheProcessDoes(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"type":"ADDED"}`)
		w.(http.Flusher).Flush()
		if r.Header.Get("Break") != "" {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
	}))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := EndingWatches(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	stopping := make(shutdown)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r.WithContext(request.WithServerShutdownSignal(r.Context(), stopping)))
	}))
	defer front.Close()
	for _, header := range []string{"Break", "Last"} { // the process stops during the last
		broken := header == "Break"
		req, err := http.NewRequest(http.MethodGet, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header, "yes")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if !broken {
			close(stopping)
		}
		said, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if (err != nil) != broken || string(said) != "{\"type\":\"ADDED\"}\n" {
			t.Errorf("%s: %q, %v", header, said, err)
		}
	}
}

func TestAWatchEndsCleanlyWhenTheProcessDoes(t *testing.T) {
	stopping := make(shutdown)
	watching, ended := make(chan struct{}), make(chan error, 1)
	handler := withShutdown(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(watching)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	}), newConfigOf(t))
	r := httptest.NewRequest(http.MethodGet, "/api/v1/pods?watch=true", nil)
	ctx := request.WithServerShutdownSignal(r.Context(), stopping)
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: "watch", Resource: "pods"})
	go handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	<-watching
	close(stopping)
	if err := <-ended; !errors.Is(err, hop.ErrEnd) {
		t.Errorf("it ended because of %v", err)
	}
}
