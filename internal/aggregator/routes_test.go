package aggregator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	controlplane "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/router"
	"triptych.dev/triptych/internal/tier"
)

func TestAPIServicesWinOverCoreAndCoreOverExtensions(t *testing.T) {
	paths := newPKI(t)
	core, extensions := start(t, paths, tier.Core), start(t, paths, tier.Extensions)
	core.tell(true, "apps", "batch")
	extensions.tell(true, "apps", "example.org", "taken.org")
	r := newRoutes(core.Delegate, extensions.Delegate, yes)
	r.services = listing(t,
		registered("apps", "v1", "onstart", nil), registered("example.org", "v1", "true", nil),
		registered("batch", "v1", "", &v1.ServiceReference{Name: "mine"}), registered("taken.org", "v1", "", &v1.ServiceReference{Name: "mine"}),
		registered("metrics.k8s.io", "v1", "", &v1.ServiceReference{Name: "metrics"}))
	r.servicesSynced = yes
	for _, when := range []string{"while they live", "while both are away"} {
		table := r.table()
		for path, want := range map[string]tier.Name{
			"/":                                         tier.Aggregator,
			"/readyz/etcd":                              tier.Aggregator,
			"/openapi/v3/apis/apps/v1":                  tier.Aggregator,
			"/version":                                  tier.Aggregator,
			"/apis":                                     tier.Aggregator,
			"/api/v1/pods":                              tier.Core,
			"/openid/v1/jwks":                           tier.Core,
			"/.well-known/openid-configuration":         tier.Core,
			"/apis/apps":                                tier.Aggregator,
			"/apis/apps/v1/deployments":                 tier.Core,
			"/apis/example.org":                         tier.Aggregator,
			"/apis/example.org/v1/things":               tier.Extensions,
			"/apis/batch/v1/jobs":                       tier.Aggregator,
			"/apis/taken.org/v1/things":                 tier.Aggregator,
			"/apis/metrics.k8s.io/v1/nodes":             tier.Aggregator,
			"/apis/apiregistration.k8s.io/v1":           tier.Aggregator,
			"/apis/apiregistration.k8s.io":              tier.Aggregator,
			"/apis/unheard.of/v1/things":                tier.Core, // which knows more than the head has heard
			"/apis/example.org/v2/things":               tier.Core,
			"/apis/apiregistration.k8s.io/v1/apiserves": tier.Aggregator,
		} {
			if got := table.Owner(path); got != want {
				t.Errorf("%s: %s is served by %s, want %s", when, path, got, want)
			}
		}
		core.Stop()
		extensions.Stop()
		for _, o := range []*other{core, extensions} {
			if _, err := o.Client.Wait(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func yes() bool { return true }

// A 404 here would be acted on: the group may be an aggregated one.
func TestAnUnknownGroupIsUnavailableUntilAPIServicesAreRead(t *testing.T) {
	paths := newPKI(t)
	core, extensions := start(t, paths, tier.Core), start(t, paths, tier.Extensions)
	core.tell(true, "apps")
	extensions.tell(true, "example.org")
	read := false
	r := newRoutes(core.Delegate, extensions.Delegate, yes)
	r.services, r.servicesSynced = listing(t), func() bool { return read }
	for path, want := range map[string]tier.Name{
		"/apis/metrics.k8s.io/v1/nodes": unknown,
		"/apis/apps/v1/deployments":     tier.Core,
		"/apis/example.org/v1/things":   tier.Extensions,
		"/api/v1/pods":                  tier.Core,
	} {
		if got := r.table().Owner(path); got != want {
			t.Errorf("%s is served by %q, want %q", path, got, want)
		}
	}
	read = true
	if got := r.table().Owner("/apis/metrics.k8s.io/v1/nodes"); got != tier.Core {
		t.Errorf("once they are read: got %q, want core", got)
	}
}

func TestTheAPIIsUnavailableUntilTheHeadWasReady(t *testing.T) {
	ready := false
	r := newRoutes(nil, nil, func() bool { return ready })
	handler := r.withWholeAPI(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	get := func(path string) int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
		return w.Code
	}
	for _, path := range []string{"/apis", "/apis/", "/apis/apps", "/apis/apps/", "/apis/metrics.k8s.io/v1/nodes", "/openapi/v3"} {
		if got := get(path); got != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d, want 503", path, got)
		}
	}
	for _, path := range []string{"/readyz", "/livez/etcd", "/version", "/apisfoo"} {
		if got := get(path); got != http.StatusAccepted {
			t.Errorf("%s: got %d, want it served", path, got)
		}
	}
	ready = true
	if got := get("/apis"); got != http.StatusAccepted {
		t.Errorf("once ready: got %d", got)
	}
}

func TestNobodyTakesTheHeadsOwnGroup(t *testing.T) {
	paths := newPKI(t)
	core, extensions := start(t, paths, tier.Core), start(t, paths, tier.Extensions)
	core.tell(true, "apiregistration.k8s.io")
	extensions.tell(true, "apiregistration.k8s.io")
	table := newRoutes(core.Delegate, extensions.Delegate, yes).table()
	if got := table.Owner("/apis/apiregistration.k8s.io/v1/apiservices"); got != tier.Aggregator {
		t.Errorf("it is served by %s", got)
	}
}

// resources returns what the discovery document says of a group version.
func resources(t *testing.T, manager http.Handler, group, version string) []string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/apis", nil)
	r.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	w := httptest.NewRecorder()
	manager.ServeHTTP(w, r)
	list := apidiscoveryv2.APIGroupDiscoveryList{}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, g := range list.Items {
		for _, v := range g.Versions {
			for _, resource := range v.Resources {
				if g.Name == group && v.Version == version {
					out = append(out, resource.Resource)
				}
			}
		}
	}
	return out
}

func TestACRDInABuiltInGroupVersionTakesNothingFromItsDiscovery(t *testing.T) {
	manager := aggregated.NewResourceManager("apis")
	ofCore, ofExtensions := sources(manager)
	apps := metav1.GroupVersion{Group: "apps", Version: "v1"}
	serving := func(resource string) apidiscoveryv2.APIVersionDiscovery {
		return apidiscoveryv2.APIVersionDiscovery{Version: "v1", Resources: []apidiscoveryv2.APIResourceDiscovery{{Resource: resource}}}
	}
	ofCore(apps).Manager.AddGroupVersion("apps", serving("deployments"))
	want := func(when string) {
		t.Helper()
		if got := resources(t, manager, "apps", "v1"); len(got) != 1 || got[0] != "deployments" {
			t.Errorf("%s: apps/v1 has %v", when, got)
		}
	}
	want("at first")
	ofExtensions(apps).Manager.AddGroupVersion("apps", serving("widgets"))
	want("with the CRD")
	ofExtensions(apps).Manager.RemoveGroupVersion(apps)
	want("when the CRD is gone")
	if s := ofExtensions(metav1.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}); s.GroupPriority != 16700 {
		t.Errorf("CRDs themselves have priority %d", s.GroupPriority)
	}
	if s := ofExtensions(metav1.GroupVersion{Group: "example.org", Version: "v1"}); s.GroupPriority != 1000 || s.VersionPriority != 100 {
		t.Errorf("custom resources have priority %d, %d", s.GroupPriority, s.VersionPriority)
	}
}

func TestPrioritiesAreThoseOfKubeAPIServer(t *testing.T) {
	upstream := controlplane.DefaultGenericAPIServicePriorities()
	// kube-apiserver's own table, which is not exported, replaces this one.
	upstream[schema.GroupVersion{Group: "resource.k8s.io", Version: "v1alpha3"}] = controlplane.APIServicePriority{Group: 16200, Version: 1}
	for gv, want := range upstream {
		if got := builtIn[metav1.GroupVersion(gv)]; got != (priority{want.Group, want.Version}) {
			t.Errorf("%v has %+v, want %+v", gv, got, want)
		}
	}
	groups := map[string]int32{}
	for gv, p := range builtIn {
		if p.group <= customResources.group || p.version <= 0 {
			t.Errorf("%v has %+v, and custom resources come before it", gv, p)
		}
		if other, seen := groups[gv.Group]; seen && other != p.group {
			t.Errorf("the versions of %s differ about its priority: %d and %d", gv.Group, other, p.group)
		}
		groups[gv.Group] = p.group
	}
	if core := groups[""]; core <= groups["apps"] {
		t.Errorf("the core group has %d and is not the first", core)
	}
}

func TestWhoMayConnectToThePrivateListener(t *testing.T) {
	for _, name := range append([]tier.Name{identity.Supervisor}, tier.Order...) {
		for _, role := range []identity.Role{identity.Self, identity.Delegation} {
			peer := identity.Peer{Name: name, Role: role}
			want := (role == identity.Delegation) == (name == identity.Supervisor)
			if got := peers.Admit(peer); got != want {
				t.Errorf("%s: admitted %v, want %v", peer, got, want)
			}
		}
	}
}

func TestTheHeadDescribesWhatItServes(t *testing.T) {
	paths := newPKI(t)
	core, extensions := start(t, paths, tier.Core), start(t, paths, tier.Extensions)
	core.tell(true, "apps")
	extensions.tell(true, "apps", "taken.org", "example.org")
	r := newRoutes(core.Delegate, extensions.Delegate, yes)
	r.services = listing(t, registered("apps", "v1", "onstart", nil), registered("example.org", "v1", "true", nil),
		registered("taken.org", "v1", "", &v1.ServiceReference{Name: "mine"}))
	r.servicesSynced = yes
	r.router = router.New(r.table(), nil)
	for path, want := range map[string]bool{
		"apis/taken.org/v1": true, "apis/apiregistration.k8s.io/v1": true,
		"apis/apps/v1": false, "apis/example.org/v1": false, "apis/apps": false, "apis": false, "version": false, "api/v1": false,
	} {
		if got := r.servedHere(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
