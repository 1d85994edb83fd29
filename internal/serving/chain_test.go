package serving

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/endpoints/request"

	"triptych.dev/triptych/internal/identity"
)

func named(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

func call(handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// In one process the filter for incomplete muxes makes a 503 of this 404.
func TestAJudgedRequestIsNotFoundOnlyByATierThatKnowsEveryAPI(t *testing.T) {
	known := false
	handler := WithIdentity(WithJudged(named(http.StatusTeapot), named(http.StatusNotFound), func() bool { return known }, newConfigOf(t)))
	tier := startInner(t, handler)
	judged := stamped(t, identity.Identity{User: &user.DefaultInfo{Name: "jane"}, Judged: true})
	get := func(path string) int {
		resp, _ := tier.get(headDelegates, path, judged)
		return resp.StatusCode
	}
	if got := get("/apis/example.org"); got != http.StatusServiceUnavailable {
		t.Errorf("while it starts: got %d", got)
	}
	if got := get("/openapi/v3/apis/example.org/v1"); got != http.StatusNotFound {
		t.Errorf("OpenAPI while it starts: got %d", got)
	}
	known = true
	if got := get("/apis/example.org"); got != http.StatusNotFound {
		t.Errorf("when it knows: got %d", got)
	}
}

func TestOnlyWhatADelegatingTierJudgedSkipsTheChain(t *testing.T) {
	jane := &user.DefaultInfo{Name: "jane"}
	handler := WithIdentity(WithJudged(named(http.StatusTeapot), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, _ := request.UserFrom(r.Context()); u.GetName() != "jane" {
			t.Errorf("judged for %v", u)
		}
		if _, ok := request.RequestInfoFrom(r.Context()); !ok {
			t.Error("handlers cannot tell what is asked for")
		}
		w.WriteHeader(http.StatusAccepted)
	}), func() bool { return false }, newConfigOf(t)))
	tier := startInner(t, handler)
	judged := stamped(t, identity.Identity{User: jane, Judged: true})
	for name, c := range map[string]struct {
		peer   identity.Peer
		header http.Header
		want   int
	}{
		"judged":              {headDelegates, judged, http.StatusAccepted},
		"not judged":          {headDelegates, stamped(t, identity.Identity{User: jane}), http.StatusTeapot},
		"names nobody":        {headDelegates, http.Header{}, http.StatusTeapot},
		"judged by its own":   {headItself, judged, http.StatusTeapot},
		"no delegate's claim": {headItself, http.Header{}, http.StatusTeapot},
	} {
		if resp, _ := tier.get(c.peer, "/openapi/v3", c.header); resp.StatusCode != c.want {
			t.Errorf("%s: got %d, want %d", name, resp.StatusCode, c.want)
		}
	}
	public := httptest.NewRequest(http.MethodGet, "/openapi/v3", nil)
	public.Header = judged.Clone()
	if got := call(handler, public); got.Code != http.StatusTeapot {
		t.Errorf("a client's own judgement: got %d", got.Code)
	}
}

func TestTheInnerChainAuthorizes(t *testing.T) {
	c := newConfigOf(t)
	c.Authorization.Authorizer = authorizerfactory.NewAlwaysDenyAuthorizer()
	tier := startInner(t, WithIdentity(InnerChain(named(http.StatusOK), c)))
	resp, _ := tier.get(headDelegates, "/api/v1/pods", stamped(t, identity.Identity{User: &user.DefaultInfo{Name: "jane"}}))
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("got %s", resp.Status)
	}
}

func TestTheInnerChainLeavesTheConfigurationOfOthersAlone(t *testing.T) {
	c := newConfigOf(t)
	c.HSTSDirectives, c.CorsAllowedOriginList, c.GoawayChance = []string{"max-age=1"}, []string{".*"}, 0.5
	c.Authentication.APIAudiences = []string{"api"}
	InnerChain(named(http.StatusOK), c)
	if c.Authentication.Authenticator != nil || len(c.Authentication.APIAudiences) != 1 || len(c.HSTSDirectives) != 1 ||
		len(c.CorsAllowedOriginList) != 1 || c.GoawayChance != 0.5 {
		t.Errorf("the head would serve by %+v", c)
	}
}

func TestUsersWaitUntilTheirRightsAreKnownAndTiersDoNot(t *testing.T) {
	known := false
	handler := WithKnown(named(http.StatusAccepted), func() bool { return known })
	jane := &user.DefaultInfo{Name: "jane"}
	// Who only looks like a tier is none: names come from clients.
	namesake := &user.DefaultInfo{Name: selfUser.Name, Groups: selfUser.Groups}
	for name, c := range map[string]struct {
		id     *identity.Identity
		before int
	}{
		"a client of the public port": {nil, http.StatusServiceUnavailable},
		"a delegated user":            {&identity.Identity{User: jane}, http.StatusServiceUnavailable},
		"a tier's namesake":           {&identity.Identity{User: namesake}, http.StatusServiceUnavailable},
		"a tier":                      {&identity.Identity{User: selfUser}, http.StatusAccepted},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/apis/example.org/v1/things", nil)
			if c.id != nil {
				r = r.WithContext(from(r.Context(), *c.id))
			}
			known = false
			got := call(handler, r)
			if got.Code != c.before {
				t.Errorf("before: got %d, want %d", got.Code, c.before)
			}
			if c.before != http.StatusAccepted && got.Header().Get("Retry-After") == "" {
				t.Error("nobody says when to come back")
			}
			known = true
			if got := call(handler, r); got.Code != http.StatusAccepted {
				t.Errorf("after: got %d", got.Code)
			}
		})
	}
}

func TestUnavailableIsAStatusThatClientsRetry(t *testing.T) {
	for accept, want := range map[string]string{
		"":                 "application/json",
		"application/json": "application/json",
		"application/vnd.kubernetes.protobuf, application/json": "application/vnd.kubernetes.protobuf",
		"application/yaml":    "application/yaml",
		"text/html":           "application/json",
		"application/cbor":    "application/json",
		"application/nothing": "application/json",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		Unavailable(w, r, "core is away")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%s: got %d, Retry-After %q", accept, w.Code, w.Header().Get("Retry-After"))
		}
		if got := w.Header().Get("Content-Type"); got != want {
			t.Errorf("%s: the body is %s, want %s", accept, got, want)
		}
		if !strings.Contains(w.Body.String(), "core is away") {
			t.Errorf("%s: the body does not say why: %q", accept, w.Body)
		}
		if want != "application/json" {
			continue
		}
		s := metav1.Status{}
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Kind != "Status" || s.Reason != metav1.StatusReasonServiceUnavailable || s.Details.RetryAfterSeconds != 1 {
			t.Errorf("%s: got %+v, %v", accept, s, err)
		}
	}
}
