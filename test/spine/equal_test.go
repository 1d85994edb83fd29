package spine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

const aggregatedDiscovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// A client cannot tell by what the API says of itself that it is three
// processes. Both servers get the same custom resource.
func TestAPIDescribesItselfLikeStock(t *testing.T) {
	const group = "equal.example.com"
	c, stock := harness.Run(t, harness.Options{}), harness.RunStock(t)
	for _, api := range []*harness.API{&c.API, &stock.API} {
		installCRD(t, api, group)
	}

	// What changes with the CRD arrives a moment later: compare until equal.
	const settled = 15 * time.Second
	equal := func(t *testing.T, what string, read func(api *harness.API) any) {
		t.Helper()
		harness.Eventually(t, settled, what+" equals stock's", func() error {
			if diff := cmp.Diff(read(&stock.API), read(&c.API)); diff != "" {
				return fmt.Errorf("(- stock, + ours)\n%s", firstLines(diff, 60))
			}
			return nil
		})
	}
	document := func(path string, headers ...string) func(api *harness.API) any {
		return func(api *harness.API) any {
			got := api.Get(t, path, headers...)
			var into any
			if got.Code != http.StatusOK || json.Unmarshal(got.Body, &into) != nil {
				return got.String()
			}
			return withoutAddresses(into)
		}
	}

	t.Run("discovery", func(t *testing.T) {
		equal(t, "/apis", document("/apis"))
		equal(t, "/api", document("/api"))
		equal(t, "/api/v1", document("/api/v1"))
		equal(t, "/apis/"+group, document("/apis/"+group))
		equal(t, "/apis/"+group+"/v1", document("/apis/"+group+"/v1"))
		for _, gv := range groupVersions(t, &stock.API) {
			equal(t, gv, document("/apis/"+gv))
		}
	})
	t.Run("aggregated discovery", func(t *testing.T) {
		equal(t, "/apis", document("/apis", "Accept", aggregatedDiscovery))
		equal(t, "/api", document("/api", "Accept", aggregatedDiscovery))
	})
	t.Run("listed paths", func(t *testing.T) {
		equal(t, "/", func(api *harness.API) any { return withoutChecks(pathSet(t, api.Get(t, "/"))) })
	})
	t.Run("OpenAPI v2", func(t *testing.T) {
		equal(t, "/openapi/v2", func(api *harness.API) any {
			var spec struct{ Paths, Definitions map[string]json.RawMessage }
			api.Get(t, "/openapi/v2").Into(t, &spec)
			return map[string][]string{"paths": keys(spec.Paths), "definitions": keys(spec.Definitions)}
		})
	})
	t.Run("OpenAPI v3", func(t *testing.T) {
		equal(t, "/openapi/v3", func(api *harness.API) any { return keys(openAPIV3(t, api)) })
		for name := range openAPIV3(t, &stock.API) {
			equal(t, "/openapi/v3/"+name, func(api *harness.API) any {
				var spec struct {
					Paths      map[string]json.RawMessage
					Components struct{ Schemas map[string]json.RawMessage }
				}
				api.Get(t, openAPIV3(t, api)[name]).Into(t, &spec)
				return map[string][]string{"paths": keys(spec.Paths), "schemas": keys(spec.Components.Schemas)}
			})
		}
	})
	t.Run("explain", func(t *testing.T) {
		for _, what := range []string{"pods.spec.containers.resources", "deployments", "apiservices.spec", "crd.spec", "gadgets", "gadgets.spec.size"} {
			equal(t, "kubectl explain "+what, func(api *harness.API) any { return api.Kubectl(t, "explain", what) })
		}
	})
	t.Run("api-resources", func(t *testing.T) {
		equal(t, "kubectl api-resources", func(api *harness.API) any {
			return strings.Split(api.Kubectl(t, "api-resources", "-o", "wide", "--sort-by=name"), "\n")
		})
	})
	t.Run("errors", func(t *testing.T) {
		for _, path := range []string{
			"/nothing", "/apis/nothing.example.com/v1", "/apis/apps/v7", "/apis/apps/v1/nothing", "/api/v1/nothing",
			"/apis/" + group + "/v2", "/apis/" + group + "/v1/nothing", gadgetsPath(group) + "/absent", "/api/v1/namespaces/absent",
		} {
			t.Run(path, func(t *testing.T) {
				equal(t, path, func(api *harness.API) any {
					got := api.Get(t, path)
					return fmt.Sprintf("%d %s %s", got.Code, got.Header.Get("Content-Type"), got.Body)
				})
			})
		}
	})
}

// withoutAddresses drops what names the server's own address.
func withoutAddresses(document any) any {
	if object, ok := document.(map[string]any); ok {
		delete(object, "serverAddressByClientCIDRs")
	}
	return document
}

func groupVersions(t *testing.T, api *harness.API) []string {
	t.Helper()
	var list struct {
		Groups []struct {
			Versions []struct{ GroupVersion string }
		}
	}
	api.Get(t, "/apis").Into(t, &list)
	var all []string
	for _, group := range list.Groups {
		for _, version := range group.Versions {
			all = append(all, version.GroupVersion)
		}
	}
	if len(all) < 20 {
		t.Fatalf("the stock server serves only %v", all)
	}
	return all
}

func pathSet(t *testing.T, answer harness.Answer) []string {
	t.Helper()
	var listed struct{ Paths []string }
	answer.Into(t, &listed)
	slices.Sort(listed.Paths)
	return listed.Paths
}

// withoutChecks drops the paths of checks that only one side has: ours has the
// hops to look after, and the stock server a certificate of its loopback client.
func withoutChecks(paths []string) []string {
	return slices.DeleteFunc(paths, func(path string) bool {
		check := path[strings.LastIndex(path, "/")+1:]
		return check == "loopback-serving-certificate" || strings.HasPrefix(check, "triptych-") || strings.HasPrefix(check, "tier-") || strings.HasPrefix(check, "rights-")
	})
}

// openAPIV3 maps what the index lists to its URL.
func openAPIV3(t *testing.T, api *harness.API) map[string]string {
	t.Helper()
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	api.Get(t, "/openapi/v3").Into(t, &index)
	urls := map[string]string{}
	for name, entry := range index.Paths {
		urls[name] = entry.ServerRelativeURL
	}
	return urls
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func firstLines(s string, n int) string {
	all := strings.Split(s, "\n")
	return strings.Join(all[:min(n, len(all))], "\n")
}
