package spine

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// hookedCRD has every subresource and a second version.
const hookedCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.hooked.example.com}
spec:
  group: hooked.example.com
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - &version
    name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
  - {<<: *version, name: v2, storage: false}
`

// hookedObjects are what requests are about. The node is never reached, because
// the API does not proxy to loopback: that it says so proves that it was asked.
const hookedObjects = `apiVersion: v1
kind: Namespace
metadata: {name: hooked, labels: {hooked: "yes"}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: hooked}
---
apiVersion: v1
kind: Node
metadata: {name: hook}
status:
  addresses: [{type: InternalIP, address: 127.0.0.1}]
  daemonEndpoints: {kubeletEndpoint: {Port: PORT}}
---
apiVersion: v1
kind: Service
metadata: {name: hooks, namespace: hooked}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.hooks.example.com}
spec:
  group: hooks.example.com
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  service: {namespace: hooked, name: hooks, port: PORT}
  caBundle: BUNDLE
`

// hookedRules are one resource of each tier. Those of the namespace are asked
// about only if it is labelled.
const hookedRules = `
  - {apiGroups: [""], apiVersions: [v1], operations: OPERATIONS, resources: [configmapsMORE]}
  - {apiGroups: [hooked.example.com], apiVersions: [v1], operations: OPERATIONS, resources: [gadgetsMORE]}
  - {apiGroups: [autoscaling], apiVersions: [v1], operations: OPERATIONS, resources: [horizontalpodautoscalers]}
  - {apiGroups: [apiregistration.k8s.io], apiVersions: [v1], operations: OPERATIONS, resources: [apiservicesMORE]}`

// hookFor writes one webhook into a configuration. Those with a label are for
// objects with that label alone.
func hookFor(name, label, client, operations, more, rest string) string {
	rules := strings.NewReplacer("OPERATIONS", operations, "MORE", more).Replace(hookedRules)
	selector := "{}"
	if label != "" {
		selector = "{matchLabels: {" + label + "}}"
	}
	return fmt.Sprintf(`- name: %s.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: %s
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [hooked]}]}
  objectSelector: %s
  %s
  rules:%s
`, name, client, selector, rest, rules)
}

// configurations are the webhooks of all tests here.
func (b *beside) configurations() string {
	url := func(path string) string {
		return fmt.Sprintf("{url: %q, caBundle: %s}", b.hook.URL+path, b.hook.Bundle())
	}
	service := func(namespace, name string, port int, path, more string) string {
		return fmt.Sprintf("{service: {namespace: %s, name: %s, port: %d, path: %q}%s}", namespace, name, port, path, more)
	}
	bundle := ", caBundle: " + b.hook.Bundle()
	const node = "/api/v1/nodes/hook/proxy/node/allow"
	const every, writes = `["*"]`, "[CREATE, UPDATE]"
	return "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: hooked}\nwebhooks:\n" +
		hookFor("first", "mutate: \"yes\"", url("/first/label"), writes, "", "reinvocationPolicy: IfNeeded") +
		hookFor("second", "mutate: \"yes\"", url("/second/label"), writes, "", "reinvocationPolicy: Never") +
		"---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: hooked}\nwebhooks:\n" +
		hookFor("sees", "", url("/sees/allow"), every, `, "RESOURCE/*"`, "") +
		hookFor("conditions", "", url("/conditions/allow"), every, "",
			`matchConditions: [{name: who, expression: "request.userInfo.username == 'jane'"}, {name: may, expression: "authorizer.group('').resource('configmaps').check('create').allowed()"}]`) +
		hookFor("exact", "", url("/exact/allow"), every, "", "matchPolicy: Exact") +
		hookFor("deny", "deny: \"yes\"", url("/deny"), writes, "", "") +
		hookFor("warn", "warn: \"yes\"", url("/warn"), writes, "", "") +
		hookFor("hang", "hang: \"yes\"", url("/hang"), writes, "", "timeoutSeconds: 1") +
		hookFor("hang-ignored", "hang: ignored", url("/hang"), writes, "", "timeoutSeconds: 1\n  failurePolicy: Ignore") +
		hookFor("broken", "broken: \"yes\"", url("/broken"), writes, "", "") +
		hookFor("broken-ignored", "broken: ignored", url("/broken"), writes, "", "failurePolicy: Ignore") +
		hookFor("distrusted", "distrusted: \"yes\"", fmt.Sprintf("{url: %q}", b.hook.URL+"/allow"), writes, "", "") +
		hookFor("external", "via: external", service("hooked", "hooks", b.hook.Port, "/external/allow", bundle), writes, "", "") +
		hookFor("nobody", "via: nobody", service("hooked", "nobody", 443, "/", bundle), writes, "", "") +
		hookFor("api", "via: api", service("default", "kubernetes", 443, "/apis/hooks.example.com/v1/allow", ""), writes, "", "") +
		hookFor("api-bundled", "via: api-bundled", service("default", "kubernetes", 443, "/apis/hooks.example.com/v1/allow", bundle), writes, "", "") +
		hookFor("api-absent", "via: api-absent", service("default", "kubernetes", 443, "/apis/absent.example.com/v1/allow", ""), writes, "", "") +
		hookFor("node", "via: node", service("default", "kubernetes", 443, node, ""), writes, "", "") +
		`- name: connect.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: ` + url("/connect/deny") + `
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CONNECT], resources: [pods/exec, pods/attach]}]
`
}

// objectsOf are templates of one object for each tier, NAME and LABELS open.
var objectsOf = map[string]struct{ path, object string }{
	"core": {"/api/v1/namespaces/hooked/configmaps",
		`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "NAME", "labels": {LABELS}}, "data": {"a": "b"}}`},
	"extensions": {"/apis/hooked.example.com/v1/namespaces/hooked/gadgets",
		`{"apiVersion": "hooked.example.com/v1", "kind": "Gadget", "metadata": {"name": "NAME", "labels": {LABELS}}, "spec": {"size": 1}}`},
	"aggregator": {"/apis/apiregistration.k8s.io/v1/apiservices",
		`{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.NAME.example.com", "labels": {LABELS}},
		  "spec": {"group": "NAME.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100, "service": {"namespace": "hooked", "name": "nobody"}}}`},
}

func hookedObject(tier, name, labels string) string {
	return strings.NewReplacer("NAME", name, "LABELS", labels).Replace(objectsOf[tier].object)
}

func create(tier, what, labels string, headers ...string) request {
	return request{what, http.MethodPost, objectsOf[tier].path, hookedObject(tier, what, labels), headers}
}

// install has the API ask its webhook, in every tier.
func (b *beside) install(t *testing.T) {
	t.Helper()
	filled := strings.NewReplacer("PORT", fmt.Sprint(b.hook.Port), "BUNDLE", b.hook.Bundle())
	b.KubectlInput(t, hookedCRD, "create", "-f", "-")
	b.KubectlInput(t, filled.Replace(hookedObjects), "create", "-f", "-")
	served(t, b.API, objectsOf["extensions"].path)
	b.Kubectl(t, "wait", "--for=condition=Available", "--timeout=60s", "apiservice", "v1.hooks.example.com")
	b.KubectlInput(t, b.withSubresources(b.configurations()), "create", "-f", "-")
	for tier, object := range objectsOf {
		probe := request{"probe", http.MethodPost, object.path + "?dryRun=All", hookedObject(tier, "probe", `"mutate": "yes"`), nil}
		harness.Eventually(t, soon, tier+" asks every webhook", func() error {
			b.hook.Forget()
			if got := probe.send(t, b); got.Code != http.StatusCreated {
				return fmt.Errorf("%s", got)
			}
			if got := pathsOf(b.hook.Asked()); !slices.Contains(got, "/first/label") || !slices.Contains(got, "/sees/allow") {
				return fmt.Errorf("asked are %v", got)
			}
			return nil
		})
	}
}

// withSubresources completes the rules that are for subresources, too.
func (b *beside) withSubresources(configurations string) string {
	return regexp.MustCompile(`\[(\w+), "RESOURCE/\*"\]`).ReplaceAllString(configurations, `[$1, "$1/*"]`)
}

func pathsOf(asked []harness.Asked) []string {
	var paths []string
	for _, a := range asked {
		paths = append(paths, a.Path)
	}
	return paths
}

// Whatever a client does, each webhook is asked as often as behind stock, sees
// the same, and its word counts for the same: in every tier, for every verb.
func TestWebhooksAreAskedAsBehindStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	ours, stock := sideBySide(t)
	for _, b := range []*beside{ours, stock} {
		b.install(t)
	}
	for _, tier := range slices.Sorted(maps.Keys(objectsOf)) {
		t.Run(tier, func(t *testing.T) {
			for _, r := range hookedRequests(tier) {
				t.Run(r.what+" "+r.method, func(t *testing.T) { alike(t, stock, ours, r) })
				if tier == "aggregator" {
					ours.settles(t, "v1."+r.what+".example.com")
					stock.settles(t, "v1."+r.what+".example.com")
				}
			}
		})
	}
	t.Run("insecure port", func(t *testing.T) { insecureRequestsAreReviewedOnce(t, ours) })
	t.Run("hop through core", func(t *testing.T) { hopsAreReviewedOnce(t, ours) })
}

// settles waits until the controller has judged the APIService, if there is one.
func (b *beside) settles(t *testing.T, apiService string) {
	t.Helper()
	harness.Eventually(t, soon, apiService+" has a condition", func() error {
		got := b.Get(t, objectsOf["aggregator"].path+"/"+apiService)
		if got.Code != http.StatusNotFound && !strings.Contains(string(got.Body), `"type":"Available"`) {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
}

// A request passes the same webhooks as often when it comes in by the port that
// stock no longer has.
func insecureRequestsAreReviewedOnce(t *testing.T, ours *beside) {
	for name := range objectsOf {
		r := create(name, "unsecured", `"mutate": "yes"`)
		ours.hook.Forget()
		got := harness.Must(harness.Send(t.Context(), &rest.Config{Host: ours.insecure}, r.method, r.path, r.body, "Content-Type", "application/json"))(t)
		ours.reviewedOnce(t, got)
	}
}

// What the head takes for core's and core for extensions' is reviewed there
// alone. The head knows the group, so the test plays the head that does not.
func hopsAreReviewedOnce(t *testing.T, ours *beside) {
	in := insideOf(t, &harness.Cluster{API: *ours.API, Dir: ours.dir})
	r := create("extensions", "hopped", `"mutate": "yes"`)
	ours.hook.Forget()
	head := in.config(tier.Core, in.forge(t, "aggregator/delegation"))
	ours.reviewedOnce(t, harness.Must(send(t, r.method, in.tiers[tier.Core].Hop, head, r.path, r.body, stamped(t)))(t))
}

func (b *beside) reviewedOnce(t *testing.T, got harness.Answer) {
	t.Helper()
	if got.Code != http.StatusCreated {
		t.Errorf("%s", got)
	}
	asked := pathsOf(slices.DeleteFunc(b.hook.Asked(), ofController))
	slices.Sort(asked)
	// The first is asked again, because the second changed the object.
	if want := []string{"/exact/allow", "/first/label", "/first/label", "/second/label", "/sees/allow"}; !slices.Equal(asked, want) {
		t.Errorf("asked are %v, want %v", asked, want)
	}
}

// hookedRequests are the requests to one tier. Each leaves behind what the next
// ones need.
func hookedRequests(tier string) []request {
	collection := objectsOf[tier].path
	one := collection + "/one"
	if tier == "aggregator" {
		one = collection + "/v1.one.example.com"
	}
	jane := []string{"Impersonate-User", "jane", "Impersonate-Group", "system:masters", "Impersonate-Uid", "test-uid",
		"Impersonate-Extra-Scopes", "a", "Impersonate-Extra-Scopes", "b", "Impersonate-Extra-Acme.com%2Fproject", "p"}
	patch := func(kind string) []string { return []string{"Content-Type", "application/" + kind + "-patch+json"} }
	all := []request{
		create(tier, "one", `"mutate": "yes"`),
		create(tier, "one", `"mutate": "yes"`),
		{"dry", http.MethodPost, collection + "?dryRun=All&fieldManager=me&fieldValidation=Strict", hookedObject(tier, "dry", `"mutate": "yes"`), nil},
		create(tier, "janes", `"mutate": "yes"`, jane...),
		{"merge", http.MethodPatch, one, `{"metadata": {"annotations": {"a": "b"}}}`, patch("merge")},
		{"json", http.MethodPatch, one, `[{"op": "add", "path": "/metadata/annotations/c", "value": "d"}]`, patch("json")},
		{"dry merge", http.MethodPatch, one + "?dryRun=All", `{"metadata": {"annotations": {"a": "c"}}}`, patch("merge")},
		{"replace", http.MethodPut, one, hookedObject(tier, "one", `"mutate": "yes"`), nil},
		{"apply", http.MethodPatch, one + "?fieldManager=test&force=true", hookedObject(tier, "one", `"mutate": "yes"`),
			[]string{"Content-Type", "application/apply-patch+yaml"}},
		{"status", http.MethodPatch, one + "/status", `{"status": {"size": 3}}`, patch("merge")},
		create(tier, "denied", `"deny": "yes"`),
		create(tier, "warned", `"warn": "yes"`),
		create(tier, "hangs", `"hang": "yes"`),
		create(tier, "hangsignored", `"hang": "ignored"`),
		create(tier, "broken", `"broken": "yes"`),
		create(tier, "brokenignored", `"broken": "ignored"`),
		create(tier, "distrusted", `"distrusted": "yes"`),
		create(tier, "external", `"via": "external"`),
		create(tier, "nobody", `"via": "nobody"`),
		create(tier, "api", `"via": "api"`),
		create(tier, "apibundled", `"via": "api-bundled"`),
		create(tier, "apiabsent", `"via": "api-absent"`),
		create(tier, "node", `"via": "node"`),
		{"delete", http.MethodDelete, one + "?propagationPolicy=Foreground&dryRun=All", "", nil},
		{"delete", http.MethodDelete, one, `{"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}`, nil},
		{"delete again", http.MethodDelete, one, "", nil},
		{"delete all", http.MethodDelete, collection + "?labelSelector=mutate%3Dyes", "", nil},
	}
	return append(all, onlyIn[tier]...)
}

const hpa = `{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "hpa", "labels": {"mutate": "yes"}},
	"spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}}`

const pod = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}`

// onlyIn are requests that only one tier serves.
var onlyIn = map[string][]request{
	"core": {
		{"another namespace", http.MethodPost, "/api/v1/namespaces/default/configmaps?dryRun=All", hookedObject("core", "elsewhere", ""), nil},
		{"another version", http.MethodPost, "/apis/autoscaling/v2/namespaces/hooked/horizontalpodautoscalers", hpa, nil},
		{"pod", http.MethodPost, "/api/v1/namespaces/hooked/pods?dryRun=All", pod, nil},
		{"pod", http.MethodPost, "/api/v1/namespaces/hooked/pods", pod, nil},
		{"exec", http.MethodPost, "/api/v1/namespaces/hooked/pods/pod/exec?command=ls&stdout=true&container=c", "", nil},
		{"attach", http.MethodGet, "/api/v1/namespaces/hooked/pods/pod/attach?stdout=true", "", nil},
	},
	"extensions": {
		{"another namespace", http.MethodPost, "/apis/hooked.example.com/v1/namespaces/default/gadgets?dryRun=All", hookedObject("extensions", "elsewhere", ""), nil},
		create("extensions", "scaled", `"mutate": "yes"`),
		{"scale", http.MethodPatch, objectsOf["extensions"].path + "/scaled/scale", `{"spec": {"replicas": 4}}`, []string{"Content-Type", "application/merge-patch+json"}},
		{"another version", http.MethodPost, "/apis/hooked.example.com/v2/namespaces/hooked/gadgets",
			strings.Replace(hookedObject("extensions", "second", `"mutate": "yes"`), "example.com/v1", "example.com/v2", 1), nil},
	},
}
