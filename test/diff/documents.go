package diff

import (
	"slices"
	"strings"
)

const (
	aggregatedV2   = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	protobufV2     = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
	kubeProtobuf   = "application/vnd.kubernetes.protobuf"
	partialList    = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	partial        = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	table          = "application/json;as=Table;v=v1;g=meta.k8s.io"
	mergePatch     = "Content-Type: application/merge-patch+json"
	jsonPatch      = "Content-Type: application/json-patch+json"
	strategicPatch = "Content-Type: application/strategic-merge-patch+json"
	applyPatch     = "Content-Type: application/apply-patch+yaml"
)

// documents are about what the API says of itself.
var documents = []scene{
	{name: "discovery", aggregation: true, steps: slices.Concat(
		each("200 GET ", []string{
			"/api", "/api/", "/api/v1", "/api/v1/", "/apis", "/apis/", "/apis/apps", "/apis/apps/", "/apis/apps/v1", "/apis/apps/v1/", "/apis/batch/v1", "/apis/autoscaling",
			"/apis/autoscaling/v2", "/apis/policy/v1", "/apis/rbac.authorization.k8s.io/v1", "/apis/storage.k8s.io/v1", "/apis/networking.k8s.io/v1",
			"/apis/admissionregistration.k8s.io/v1", "/apis/apiextensions.k8s.io", "/apis/apiextensions.k8s.io/v1", "/apis/apiregistration.k8s.io",
			"/apis/apiregistration.k8s.io/v1", "/apis/coordination.k8s.io/v1", "/apis/flowcontrol.apiserver.k8s.io/v1", "/apis/certificates.k8s.io/v1",
			"/apis/authentication.k8s.io/v1", "/apis/authorization.k8s.io/v1", "/apis/events.k8s.io/v1", "/apis/node.k8s.io/v1", "/apis/discovery.k8s.io/v1",
			"/apis/scheduling.k8s.io/v1", "/apis/resource.k8s.io/v1",
		}),
		each("404 GET ", []string{"/apis/absent", "/apis/absent.example.com/v1", "/apis/apps/v9", "/api/v9", "/apis/batch/v1beta9", "/nothing", "/api/v1/nothing"}),
		[]step{
			{do: "200 GET /apis", head: []string{"Accept: " + aggregatedV2}},
			{do: "200 GET /api", head: []string{"Accept: " + aggregatedV2}},
			{do: "406 GET /apis", head: []string{"Accept: application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"}},
			{do: "200 GET /apis", head: []string{"Accept: " + aggregatedV2 + ",application/json"}},
			{do: "200 GET /apis", head: []string{"Accept: application/json;q=0.9," + aggregatedV2}},
			{do: "200 GET /apis", head: []string{"Accept: " + aggregatedV2, "Accept-Encoding: gzip"}},
			{do: "200 GET /api", head: []string{"Accept: " + kubeProtobuf}},
			{do: "200 GET /apis", head: []string{"Accept: " + kubeProtobuf}},
			{do: "200 GET /apis/apps", head: []string{"Accept: " + kubeProtobuf}},
			{do: "200 GET /apis/apps/v1", head: []string{"Accept: " + kubeProtobuf}},
			{do: "200 GET /apis/apiextensions.k8s.io/v1", head: []string{"Accept: " + kubeProtobuf}},
			{do: "200 GET /apis/apiregistration.k8s.io/v1", head: []string{"Accept: application/yaml"}},
			{do: "200 GET /apis", head: []string{"Accept: application/yaml"}},
			{do: "406 GET /apis", head: []string{"Accept: application/cbor"}},
			{do: "406 GET /apis", head: []string{"Accept: text/html"}},
			{do: "406 GET /api/v1", head: []string{"Accept: image/png"}},
			{do: "406 GET /apis/apps/v1", head: []string{"Accept: image/png"}},
			{do: "200 GET /apis", http1: true},
			{do: "200 GET /apis?pretty=1"},
			{do: "200 GET /apis", as: "mary"},
			{do: "403 GET /apis", as: "nobody"},
		},
	)},
	{name: "openapi", aggregation: true, steps: slices.Concat(
		each("200 GET ", []string{"/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v3/apis", "/openapi/v3/apis/apps", "/openapi/v3/apis/apps/v1",
			"/openapi/v3/apis/apiextensions.k8s.io/v1", "/openapi/v3/apis/apiregistration.k8s.io/v1", "/openapi/v3/version", "/openapi/v3/api",
			"/openapi/v3/apis/rbac.authorization.k8s.io/v1", "/openapi/v3/.well-known/openid-configuration"}),
		each("404 GET ", []string{"/openapi/v3/apis/absent.example.com/v1", "/openapi/v3/apis/apps/v9", "/openapi/v4", "/openapi"}),
		[]step{
			{do: "200 GET /openapi/v2", head: []string{"Accept: application/json"}},
			{do: "200 GET /openapi/v3/apis/apps/v1", head: []string{"Accept-Encoding: gzip"}},
			{do: "406 GET /openapi/v2", head: []string{"Accept: text/html"}},
			{do: "406 GET /openapi/v3/apis/apps/v1", head: []string{"Accept: text/html"}},
			{do: "403 GET /openapi/v2", as: "nobody"},
			{do: "403 GET /openapi/v3", as: "nobody"},
		},
	)},
	{name: "health", aggregation: true, steps: slices.Concat(
		each("200 GET ", []string{"/healthz", "/livez", "/readyz", "/healthz/ping", "/livez/etcd", "/readyz/poststarthook/rbac/bootstrap-roles",
			"/readyz/poststarthook/crd-informer-synced", "/readyz/informer-sync", "/readyz/shutdown", "/livez?exclude=etcd", "/readyz?exclude=etcd&exclude=ping",
			"/healthz/poststarthook/apiservice-registration-controller", "/version", "/version/", "/.well-known/openid-configuration"}),
		each("404 GET ", []string{"/healthz/absent", "/livez/absent", "/readyz/", "/healthzz", "/versions"}),
		each("403 GET ", []string{"/metrics", "/debug/pprof", "/openid/v1/jwks", "/logs", "/"}, "nobody"),
		[]step{
			{do: "200 GET /livez", as: "nobody"},
			{do: "200 GET /version", as: "nobody"},
			{do: "200 GET /readyz", http1: true},
		},
	)},
}

// each makes a step of each path, asked by the administrator or as somebody else.
func each(do string, paths []string, as ...string) (steps []step) {
	for _, path := range paths {
		steps = append(steps, step{do: do + path, as: strings.Join(as, "")})
	}
	return steps
}
