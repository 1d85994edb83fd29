package delegate

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

func asJane(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	return r.WithContext(request.WithUser(r.Context(), &user.DefaultInfo{Name: "jane"}))
}

func call(handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestWhatReachesTheEndOfTheChainIsJudgedAlready(t *testing.T) {
	var got identity.Identity
	e := newExtensions(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ = serving.CallerFrom(r.Context())
	}))
	e.prepared(e.live("first"))
	end := e.Target(nil).UnprotectedHandler()
	r := asJane("/apis/example.org/v1")
	r.Header[identity.Header] = []string{"left over"}
	if w := call(end, r); w.Code != http.StatusOK || !got.Judged || got.User.GetName() != "jane" {
		t.Errorf("got %d, %+v", w.Code, got)
	}
	if r.Header[identity.Header][0] != "left over" {
		t.Error("upstream's request was changed, which it still uses")
	}
	if w := call(end, httptest.NewRequest(http.MethodGet, "/apis/example.org/v1", nil)); w.Code != http.StatusInternalServerError {
		t.Errorf("a request of nobody: got %d", w.Code)
	}
}

func TestOtherOpenAPIDocumentsFailAsTheyDo(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	end := e.Target(nil).UnprotectedHandler()
	if w := call(end, asJane("/openapi/v3/apis/example.org/v1")); w.Code != http.StatusServiceUnavailable {
		t.Errorf("away: got %d", w.Code)
	}
	e.prepared(e.live("first"))
	if w := call(end, asJane("/openapi/v3/apis/example.org/v1")); w.Code != http.StatusNotFound {
		t.Errorf("not there: got %d", w.Code)
	}
}

// Upstream downloads in goroutines where nothing recovers: the process would end.
func TestADownloadThatBreaksOffIsAFailureAndNoPanic(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"before the answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"within the answer": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			fmt.Fprint(w, "half")
			panic(http.ErrAbortHandler)
		},
	} {
		if w := call(inMemory(handler), asJane("/openapi/v3/x")); w.Code != http.StatusInternalServerError {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
	whole := inMemory(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "whole")
	}))
	if w := call(whole, asJane("/openapi/v3/x")); w.Code != http.StatusAccepted || w.Body.String() != "whole" || w.Header().Get("ETag") == "" {
		t.Errorf("a whole answer became %d %s", w.Code, w.Body)
	}
}

func TestWhatADelegateListsIsKnownWhenItIsAway(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	target := e.Target(genericapiserver.NewEmptyDelegate())
	if got := e.Target(nil).ListedPaths(); len(got) == 0 {
		t.Error("a delegate without paths is taken for none, and its OpenAPI left out for good")
	}
	l := e.live("first")
	l.Publish(&handshakev1.RoutesResponse{ListedPaths: []string{"/apis/example.org/v1"}})
	l.Reach(tier.Prepared)
	if err := e.WaitFor(t.Context(), tier.Prepared); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"there", "away"} {
		if got := target.ListedPaths(); !slices.Contains(got, "/apis/example.org/v1") {
			t.Errorf("%s: got %v", when, got)
		}
		e.lose(l)
	}
	if e.Target(nil).NextDelegate() != nil {
		t.Error("a nil in an interface is no end of the chain")
	}
	if target.NextDelegate() == nil {
		t.Error("the walk along the chain ends here")
	}
}

func TestADelegateThatIsNotThereIsWaitedForWithinBounds(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	if err := e.Await(t.Context(), tier.Prepared, time.Now().Add(-time.Second)); err != nil {
		t.Errorf("its absence keeps others from starting: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Await(ctx, tier.Prepared, time.Now().Add(time.Hour)); err != context.Canceled {
		t.Errorf("told to stop, it said %v", err)
	}
	if err := e.WaitFor(ctx, tier.Prepared); err != context.Canceled {
		t.Errorf("told to stop, it said %v", err)
	}
	e.prepared(e.live("first"))
	if err := e.Await(t.Context(), tier.Prepared, time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
}
