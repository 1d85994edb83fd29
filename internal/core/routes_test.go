package core

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/router"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// listed is what a core with few APIs lists.
var listed = []string{"/api", "/api/v1", "/apis", "/apis/", "/apis/apps", "/apis/apps/v1", "/apis/batch", "/apis/batch/v1", "/healthz", "/openapi/v2"}

func announced(complete bool, groups ...string) handshake.State {
	r := &handshakev1.RoutesResponse{Complete: complete}
	for _, g := range groups {
		r.GroupVersions = append(r.GroupVersions, &handshakev1.GroupVersion{Group: g, Version: "v1"}, &handshakev1.GroupVersion{Group: g, Version: "v9"})
	}
	return handshake.State{Routes: r}
}

func TestWhatCoreListsIsItsOwnAndOtherGroupsAreExtensions(t *testing.T) {
	table := table(listed, announced(true, "example.org"))
	for path, want := range map[string]tier.Name{
		"/":                             tier.Core,
		"/healthz":                      tier.Core,
		"/metrics":                      tier.Core,
		"/openid/v1/jwks":               tier.Core,
		"/api/v1/pods":                  tier.Core,
		"/api/v2/pods":                  tier.Core,
		"/apis":                         tier.Core,
		"/apis/apps":                    tier.Core,
		"/apis/apps/v1/deployments":     tier.Core,
		"/apis/example.org":             tier.Extensions,
		"/apis/example.org/v1/things":   tier.Extensions,
		"/apis/unheard.of":              tier.Extensions,
		"/apis/unheard.of/v1/things":    tier.Extensions,
		"/apis/apiextensions.k8s.io/v1": tier.Extensions,
	} {
		if got := table.Owner(path); got != want {
			t.Errorf("%s is served by %s, want %s", path, got, want)
		}
	}
}

func TestACRDInABuiltInGroupTakesNothingFromIt(t *testing.T) {
	for _, complete := range []bool{true, false} {
		table := table(listed, announced(complete, "apps"))
		for path, want := range map[string]tier.Name{
			"/apis/apps":                tier.Core,
			"/apis/apps/v1":             tier.Core,
			"/apis/apps/v1/deployments": tier.Core,
			"/apis/apps/v9/widgets":     tier.Extensions, // another version is the CRD's
		} {
			if got := table.Owner(path); got != want {
				t.Errorf("complete %v: %s is served by %s, want %s", complete, path, got, want)
			}
		}
	}
}

// Until extensions has said all, a version that nobody has named may exist.
func TestOnlyExtensionsCanSayThatNobodyServesAVersionOfABuiltInGroup(t *testing.T) {
	const path = "/apis/apps/v1beta1/deployments"
	for name, c := range map[string]struct {
		state handshake.State
		want  tier.Name
	}{
		"never heard of": {handshake.State{}, tier.Extensions},
		"incomplete":     {announced(false, "example.org"), tier.Extensions},
		"complete":       {announced(true, "example.org"), tier.Core},
	} {
		table := table(listed, c.state)
		if got := table.Owner(path); got != c.want {
			t.Errorf("%s: %s is served by %s, want %s", name, path, got, c.want)
		}
	}
}

func TestThereIsATableAtOnceEvenWhenToldToStop(t *testing.T) {
	client, err := handshake.NewReplicas(tier.Extensions, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRoutes(&delegate.Delegate{Tier: tier.Extensions, Client: client}, nil, serving.NewSelfRights(nil), func() bool { return true })
	answer := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	routers := []*router.Router{r.router(answer(201), answer(202)), r.router(answer(201), answer(202))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.follow(ctx, listed)
	// What was judged already is routed alike.
	for i, router := range routers {
		for path, want := range map[string]int{"/apis/apps/v1": 201, "/apis/example.org/v1": 202, "/version": 201} {
			w := httptest.NewRecorder()
			router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != want {
				t.Errorf("router %d: %s went to %d, want %d", i, path, w.Code, want)
			}
		}
	}
	client.Run(ctx) // closes its connection
}

func TestWhoMayConnectToCore(t *testing.T) {
	for _, name := range append([]tier.Name{identity.Supervisor}, tier.Order...) {
		for _, role := range []identity.Role{identity.Self, identity.Delegation} {
			peer := identity.Peer{Name: name, Role: role}
			want := name != identity.Supervisor && (role == identity.Self || name == tier.Aggregator)
			if got := peers.Admit(peer); got != want {
				t.Errorf("%s: admitted %v, want %v", peer, got, want)
			}
		}
	}
}
