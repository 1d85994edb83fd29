package router

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

func headTable() *Table {
	return &Table{
		Self:   tier.Aggregator,
		Own:    []string{"", "/healthz", "/openapi"},
		Legacy: tier.Core,
		GroupVersions: map[string]tier.Name{
			"apps/v1":                      tier.Core,
			"rbac.authorization.k8s.io/v1": tier.Core,
			"apiregistration.k8s.io/v1":    tier.Aggregator,
			"example.org/v1":               tier.Extensions,
			"apps/v9":                      tier.Extensions,
		},
		Groups:        map[string]tier.Name{"apps": tier.Aggregator},
		OtherVersions: map[string]tier.Name{"batch": tier.Aggregator},
		OtherGroups:   tier.Core,
		OtherPaths:    tier.Core,
	}
}

func TestOwner(t *testing.T) {
	for path, want := range map[string]tier.Name{
		"/":                                tier.Aggregator,
		"/healthz":                         tier.Aggregator,
		"/healthz/etcd":                    tier.Aggregator,
		"/healthzz":                        tier.Core,
		"/openapi/v3/apis/apps/v1":         tier.Aggregator,
		"/api":                             tier.Core,
		"/api/":                            tier.Core,
		"/api/v1/pods":                     tier.Core,
		"/apis":                            tier.Aggregator,
		"/apis/":                           tier.Aggregator,
		"/apis/apps":                       tier.Aggregator,
		"/apis/apps/":                      tier.Aggregator,
		"/apis/example.org":                tier.Core,
		"/apis/apps/v1":                    tier.Core,
		"/apis/apps/v1/deployments":        tier.Core,
		"/apis/apps/v10/deployments":       tier.Core,
		"/apis/apps/v9/widgets":            tier.Extensions,
		"/apis/apiregistration.k8s.io/v1/": tier.Aggregator,
		"/apis/example.org/v1":             tier.Extensions,
		"/apis/example.org/v1/things/a":    tier.Extensions,
		"/apis/unheard.of/v1/things":       tier.Core,
		"/apis/batch/v7":                   tier.Aggregator,
		"/apis/batch/v7/jobs":              tier.Aggregator,
		"/apis/batchjobs/v7":               tier.Core,
		"/apis//v1":                        tier.Core,
		"//apis/apps/v1":                   tier.Core,
		"":                                 tier.Core,
		"/openid/v1/jwks":                  tier.Core,
		"/apisfoo":                         tier.Core,
	} {
		if got := headTable().Owner(path); got != want {
			t.Errorf("Owner(%q) = %s, want %s", path, got, want)
		}
	}
}

// Whoever may create a CRD must not divert a built-in group.
func TestACRDInABuiltInGroupTakesNothingFromIt(t *testing.T) {
	table := headTable()
	for _, path := range []string{"/apis/apps/v1/deployments", "/apis/rbac.authorization.k8s.io/v1/clusterroles"} {
		if got := table.Owner(path); got != tier.Core {
			t.Errorf("Owner(%q) = %s, want %s", path, got, tier.Core)
		}
	}
}

func TestOwnerAllocatesNothing(t *testing.T) {
	table := headTable()
	if n := testing.AllocsPerRun(100, func() { table.Owner("/apis/example.org/v1/namespaces/default/things/a") }); n != 0 {
		t.Errorf("%v allocations a lookup, want 0", n)
	}
}

func TestRouterUsesTheNewestTable(t *testing.T) {
	answer := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	r := New(headTable(), map[tier.Name]http.Handler{
		tier.Aggregator: answer(201), tier.Core: answer(202), tier.Extensions: answer(203),
	})
	get := func() int {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", "/apis/new.org/v1/things", nil))
		return w.Code
	}
	if got := get(); got != 202 {
		t.Errorf("unknown group: got %d, want the delegate's 202", got)
	}
	table := headTable()
	table.GroupVersions["new.org/v1"] = tier.Extensions
	r.Set(table)
	if got := get(); got != 203 {
		t.Errorf("after the new table: got %d, want 203", got)
	}
}
