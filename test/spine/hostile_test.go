package spine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// change does the same to both.
func (b both) change(t *testing.T, do func(api *harness.API)) {
	t.Helper()
	do(b.stock)
	do(b.ours)
}

// resource is what a CRD of these tests defines.
type resource struct{ group, version, plural, kind string }

// hostile are CRDs that come near to what is built in, or to one another. A group
// without a dot, as apps, is no CRD's.
var hostile = []resource{
	{"networking.k8s.io", "v9", "widgets", "Widget"},       // another version of a built-in group
	{"storage.k8s.io", "v1alpha7", "csinodes", "CSINode"},  // and a resource that is built in there
	{"networking.k8s.io", "v1", "gizmos", "Gizmo"},         // a built-in group version
	{"rbac.authorization.k8s.io", "v9", "roles", "Role"},   // what nobody may divert
	{"prefix.org", "v1", "gadgets", "Gadget"},              // the beginning of the next
	{"prefix.org.example", "v1", "gadgets", "Gadget"},      // and its end
	{"apis.v1", "v1", "namespaces", "Namespace"},           // segments of paths
	{"pods.example.com", "v1", "pods", "Pod"},              // a plural of core's
	{"apps.api.k8s.io", "v1", "deployments", "Deployment"}, // whose OpenAPI definition is named like a built-in one
}

func (r resource) crd() string {
	return fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
		"metadata":{"name":"%[3]s.%[1]s","annotations":{"api-approved.kubernetes.io":"unapproved, a test"}},
		"spec":{"group":%[1]q,"scope":"Namespaced","names":{"plural":%[3]q,"kind":%[4]q},"versions":[{"name":%[2]q,
		"served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object"}}}}}]}}`,
		r.group, r.version, r.plural, r.kind)
}

// foreign tells whether r is in another version of a group that core serves. Stock
// lists such a version and answers 404 below it, because core's handler of the
// group takes the path. Here what is listed is served.
func (r resource) foreign() bool {
	return slices.Contains([]string{"networking.k8s.io/v9", "storage.k8s.io/v1alpha7", "rbac.authorization.k8s.io/v9"}, r.group+"/"+r.version)
}

func (r resource) path() string {
	return "/apis/" + r.group + "/" + r.version + "/namespaces/default/" + r.plural
}

// statusCodes is how the servers answer what lies at and around the resources.
func statusCodes(t *testing.T, api *harness.API) map[string]int {
	got := map[string]int{}
	for _, r := range hostile {
		paths := []string{"/apis/" + r.group, "/apis/" + r.group + "/v0"}
		if !r.foreign() {
			paths = append(paths, r.path(), r.path()+"/absent", "/apis/"+r.group+"/"+r.version)
		}
		for _, path := range paths {
			got[path] = api.Get(t, path).Code
		}
	}
	for _, path := range []string{"/apis/networking.k8s.io/v1/ingresses", "/apis/storage.k8s.io/v1/csinodes", "/apis/rbac.authorization.k8s.io/v1/roles", "/api/v1/pods"} {
		got[path] = api.Get(t, path).Code
	}
	return got
}

func agreeOnDiscovery(t *testing.T, b both) {
	t.Helper()
	paths := map[string][]string{"/apis": nil, "/apis aggregated": {"Accept", aggregatedDiscovery}}
	for _, r := range hostile {
		paths["/apis/"+r.group] = nil
		if !r.foreign() {
			paths["/apis/"+r.group+"/"+r.version] = nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		b.agree(t, name, func(api *harness.API) any {
			got := api.Get(t, strings.TrimSuffix(name, " aggregated"), paths[name]...)
			var into any
			if json.Unmarshal(got.Body, &into) != nil {
				return got.String()
			}
			return withoutAddresses(into)
		})
	}
}

func agreeOnOpenAPI(t *testing.T, b both) {
	t.Helper()
	b.agree(t, "/openapi/v3", func(api *harness.API) any { return keys(openAPIV3(t, api)) })
	for _, r := range hostile {
		name := "apis/" + r.group + "/" + r.version
		if name == "apis/networking.k8s.io/v1" {
			continue // described twice, and stock serves either by chance
		}
		b.agree(t, name, func(api *harness.API) any {
			url, listed := openAPIV3(t, api)[name]
			if !listed {
				return "not listed"
			}
			var spec struct{ Paths map[string]json.RawMessage }
			api.Get(t, url).Into(t, &spec)
			return keys(spec.Paths)
		})
	}
	b.agree(t, "/openapi/v2", func(api *harness.API) any {
		var spec struct{ Paths, Definitions map[string]json.RawMessage }
		api.Get(t, "/openapi/v2").Into(t, &spec)
		return map[string][]string{"paths": keys(spec.Paths), "definitions": keys(spec.Definitions)}
	})
}

// Custom resources in built-in groups and beside them are served and described
// as in one process, harm nothing, and leave nothing behind.
func TestCustomResourcesNearBuiltInOnesAreServedLikeStocks(t *testing.T) {
	b := both{&harness.Run(t, harness.Options{}).API, &harness.RunStock(t).API} // no others' CRDs
	send := func(api *harness.API, method, path, body, contentType string) {
		t.Helper()
		got := harness.Must(harness.Send(t.Context(), api.Config(t), method, path, body, "Content-Type", contentType))(t)
		if got.Code >= 300 {
			t.Fatalf("%s %s: %s", method, path, got)
		}
	}
	const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	agree := func(t *testing.T) {
		b.agree(t, "what is served", func(api *harness.API) any { return statusCodes(t, api) })
		agreeOnDiscovery(t, b)
		agreeOnOpenAPI(t, b)
	}
	// Where stock forgets a version late, what ours said before is the measure.
	described := func() any {
		var groups, aggregated any
		b.ours.Get(t, "/apis").Into(t, &groups)
		b.ours.Get(t, "/apis", "Accept", aggregatedDiscovery).Into(t, &aggregated)
		return []any{withoutAddresses(groups), aggregated, keys(openAPIV3(t, b.ours))}
	}
	agreeOnDiscovery(t, b)
	agreeOnOpenAPI(t, b)
	before := described()
	b.change(t, func(api *harness.API) {
		for _, r := range hostile {
			send(api, http.MethodPost, crds, r.crd(), "application/json")
		}
	})
	t.Run("created", func(t *testing.T) {
		for _, r := range hostile {
			if r.foreign() {
				served(t, b.ours, r.path())
			}
		}
		agree(t)
		// Where both describe a group version, what is built in counts.
		if got := b.ours.Get(t, openAPIV3(t, b.ours)["apis/networking.k8s.io/v1"]); !strings.Contains(string(got.Body), "/apis/networking.k8s.io/v1/ingresses") {
			t.Errorf("what is built in is no longer described: %s", got)
		}
	})
	t.Run("an APIService takes a group of custom resources over", func(t *testing.T) { takeover(t, b, send) })
	b.change(t, func(api *harness.API) {
		for _, r := range hostile {
			send(api, http.MethodDelete, crds+"/"+r.plural+"."+r.group, "", "application/json")
		}
	})
	t.Run("deleted", func(t *testing.T) {
		harness.Eventually(t, agreed, "nothing is left", func() error {
			if diff := cmp.Diff(before, described()); diff != "" {
				return fmt.Errorf("(- before, + after)\n%s", firstLines(diff, 60))
			}
			return nil
		})
		for _, r := range hostile {
			if got := b.ours.Get(t, r.path()).Code; got != http.StatusNotFound {
				t.Errorf("%s is still there: %d", r.path(), got)
			}
		}
	})
}

// takeover has an APIService with a Service, that is not there, own the group
// version of a CRD, and gives it back.
func takeover(t *testing.T, b both, send func(api *harness.API, method, path, body, contentType string)) {
	const service = "/apis/apiregistration.k8s.io/v1/apiservices/v1.prefix.org"
	r := hostile[4]
	code := func(api *harness.API) any { return api.Get(t, r.path()).Code }
	b.agree(t, "the APIService", func(api *harness.API) any { return api.Get(t, service).Code })
	b.change(t, func(api *harness.API) {
		send(api, http.MethodPatch, service, `{"metadata":{"labels":{"kube-aggregator.kubernetes.io/automanaged":null}},
			"spec":{"service":{"namespace":"default","name":"absent","port":443},"insecureSkipTLSVerify":true}}`, "application/merge-patch+json")
	})
	harness.Eventually(t, agreed, "the APIService takes over", func() error {
		if got := code(b.ours); got != http.StatusServiceUnavailable {
			return fmt.Errorf("custom resources answer %v", got)
		}
		return nil
	})
	b.agree(t, "custom resources behind an APIService", code)
	b.agree(t, "a group that is only alike", func(api *harness.API) any { return api.Get(t, hostile[5].path()).Code })
	b.change(t, func(api *harness.API) { send(api, http.MethodDelete, service, "", "application/json") })
	served(t, b.ours, r.path())
	b.agree(t, "custom resources after it", code)
}
