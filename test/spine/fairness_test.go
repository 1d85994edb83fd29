package spine

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// The headers by which API Priority and Fairness says what it took a request for.
const (
	flowSchemaHeader    = "X-Kubernetes-Pf-Flowschema-Uid"
	priorityLevelHeader = "X-Kubernetes-Pf-Prioritylevel-Uid"
)

// fairObjects are a level with a schema of its own, a level that serves one request
// at a time, two webhooks that hold it for up to a minute, and an API server behind
// the head that sends headers of the same names.
const fairObjects = `apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: fair}
spec: {type: Limited, limited: {nominalConcurrencyShares: 10, limitResponse: {type: Queue, queuing: {queues: 16, handSize: 4, queueLengthLimit: 50}}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: fair-one}
spec: {type: Limited, limited: {nominalConcurrencyShares: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: fair}
spec:
  priorityLevelConfiguration: {name: fair}
  matchingPrecedence: 20
  distinguisherMethod: {type: ByUser}
  rules: [{subjects: [{kind: User, user: {name: fair-jane}}], resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], clusterScope: true, namespaces: ["*"]}], nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]}]
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: fair-one}
spec:
  priorityLevelConfiguration: {name: fair-one}
  matchingPrecedence: 21
  rules: [{subjects: [{kind: User, user: {name: fair-hermit}}], resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], clusterScope: true, namespaces: ["*"]}], nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: fair}
webhooks: [{name: hold.fair.example.com, clientConfig: {url: "URL/hang", caBundle: BUNDLE}, rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}],
  matchConditions: [{name: hermit, expression: request.userInfo.username == "fair-hermit"}], admissionReviewVersions: [v1], sideEffects: None, timeoutSeconds: 30, failurePolicy: Ignore}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: fair}
webhooks: [{name: hold.fair.example.com, clientConfig: {url: "URL/hang", caBundle: BUNDLE}, rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}],
  matchConditions: [{name: hermit, expression: request.userInfo.username == "fair-hermit"}], admissionReviewVersions: [v1], sideEffects: None, timeoutSeconds: 30, failurePolicy: Ignore}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: fair}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: User, name: fair-jane}, {kind: User, name: fair-hermit}]
---
apiVersion: v1
kind: Namespace
metadata: {name: fair}
---
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: fair}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: v1
kind: Pod
metadata: {name: pod, namespace: fair}
spec: {nodeName: fair-node, serviceAccountName: fair, automountServiceAccountToken: false, containers: [{name: main, image: none}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.behind.example.com}
spec:
  {group: behind.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 100,
  service: {namespace: fair, name: backend, port: PORT}, insecureSkipTLSVerify: true}
`

const fairGroup = "fair.example.com"

// prepareFair creates the objects on api, and removes those that concern the whole
// cluster when the test ends.
func prepareFair(t *testing.T, api *harness.API) {
	t.Helper()
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apis/behind.example.com/v1/things" {
			w.Header()["X-Kubernetes-PF-FlowSchema-UID"] = []string{"of the backend"}
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "behind.example.com/v1", "resources": []}`)
	}))
	t.Cleanup(backend.Close)
	port := harness.Must(url.Parse(backend.URL))(t).Port()
	hook := harness.StartWebhook(t)
	t.Cleanup(func() {
		for _, path := range []string{"apiregistration.k8s.io/v1/apiservices/v1.behind.example.com", "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/fair",
			"admissionregistration.k8s.io/v1/validatingwebhookconfigurations/fair"} {
			answer, err := harness.Send(context.Background(), api.Config(t), http.MethodDelete, "/apis/"+path, "")
			if err != nil || answer.Code != http.StatusOK {
				t.Error(answer, err)
			}
		}
	})
	manifest := strings.NewReplacer("PORT", port, "URL/", hook.URL+"/", "BUNDLE", hook.Bundle()).Replace(fairObjects)
	api.KubectlInput(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: fair}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: fair, namespace: fair}\n", "apply", "-f", "-")
	api.KubectlInput(t, manifest, "apply", "-f", "-")
	api.Kubectl(t, "wait", "--for=condition=Available", "--timeout=60s", "apiservice", "v1.behind.example.com")
	installCRD(t, api, fairGroup)
	served(t, api, "/openapi/v3/apis/"+fairGroup+"/v1") // stock looks for it now and then
}

// fairPaths are of one resource of each tier.
var fairPaths = []string{"/api/v1/namespaces/fair/configmaps", "/apis/" + fairGroup + "/v1/namespaces/fair/gadgets", "/apis/apiregistration.k8s.io/v1/apiservices"}

// holdTheSeat takes the seat of the hermit in every process, until the test ends or
// the webhooks are given up, and returns once it is taken everywhere.
func holdTheSeat(t *testing.T, api *harness.API) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var holders sync.WaitGroup
	t.Cleanup(holders.Wait)
	t.Cleanup(cancel)
	objects := []string{
		`{"metadata": {"name": "held"}}`, `{"apiVersion": "fair.example.com/v1", "kind": "Gadget", "metadata": {"name": "held"}}`,
		`{"metadata": {"name": "v1.held.example.com"}, "spec": {"group": "held.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}`,
	}
	config := api.Config(t)
	for i, path := range fairPaths {
		holders.Go(func() {
			// Until the webhooks are known, nothing holds it.
			for ctx.Err() == nil {
				harness.Send(ctx, config, http.MethodPost, path+"?dryRun=All", objects[i], "Impersonate-User", "fair-hermit", "Content-Type", "application/json")
			}
		})
	}
	for _, path := range fairPaths {
		harness.Eventually(t, soon, "the seat is taken where "+path+" is served", func() error {
			if got := api.Get(t, path, "Impersonate-User", "fair-hermit"); got.Code != http.StatusTooManyRequests {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
}

// fairNames maps the UIDs of schemas and levels to their names.
func fairNames(t *testing.T, api *harness.API) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, resource := range []string{"flowschemas", "prioritylevelconfigurations"} {
		var list struct {
			Items []struct{ Metadata struct{ Name, UID string } }
		}
		api.Get(t, "/apis/flowcontrol.apiserver.k8s.io/v1/"+resource).Into(t, &list)
		for _, item := range list.Items {
			names[item.Metadata.UID] = resource + "/" + item.Metadata.Name
		}
	}
	return names
}

// classified is what an answer tells of how it was queued, by names.
func classified(names map[string]string, header http.Header) []string {
	all := []string{}
	for _, name := range []string{flowSchemaHeader, priorityLevelHeader} {
		for _, uid := range header[name] {
			known := names[uid]
			if known == "" {
				known = "unknown " + uid
			}
			all = append(all, known)
		}
	}
	return all
}

// fairRequests are one or more of each kind that the chain tells apart.
func fairRequests() []request {
	const maps, gadgets, services = "/api/v1/namespaces/fair/configmaps", "/apis/" + fairGroup + "/v1/namespaces/fair/gadgets", "/apis/apiregistration.k8s.io/v1/apiservices"
	const watch = "?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dnone"
	var all []request
	for _, path := range []string{
		maps, maps + watch, maps + "/none", "/api/v1/namespaces/fair/pods/pod/log", "/api/v1/namespaces/fair/pods/none/log", "/api/v1/nodes",
		"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", "/apis/coordination.k8s.io/v1/namespaces/fair/leases",
		gadgets, gadgets + watch, gadgets + "/none", "/apis/" + fairGroup + "/v1/nothing",
		services, services + watch, services + "/v1.apps/status",
		"/apis/behind.example.com/v1/things", "/apis/behind.example.com/v1/others" + watch, "/apis/behind.example.com/v1",
		"/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/apis/" + fairGroup, "/apis/" + fairGroup + "/v1", "/apis/apiregistration.k8s.io/v1",
		"/apis/behind.example.com", "/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1", "/openapi/v3/apis/" + fairGroup + "/v1",
		"/healthz", "/livez", "/readyz", "/readyz/ping", "/livez/none", "/metrics", "/metrics/slis", "/version", "/", "/nothing", "/logs/", "/flagz",
		"/apis/nothing.example.com/v1/things", "/.well-known/openid-configuration", "/openid/v1/jwks", "/debug/pprof/cmdline", "/debug/api_priority_and_fairness/dump_queues",
		"/api/v1/namespaces/fair/services/none/proxy/", "/api/v1/namespaces/fair/pods/none/proxy/", "/api/v1/nodes/none/proxy/", "/api/v1/namespaces/fair/pods/pod/exec?command=a",
		"/api/v1/watch/namespaces/fair/configmaps/none?timeoutSeconds=1", "/apis/apps/v7/deployments",
	} {
		all = append(all, request{"", http.MethodGet, path, "", nil})
	}
	const review = `{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}`
	return append(all,
		request{"", http.MethodPost, maps, `{"metadata": {"generateName": "fair-"}}`, nil},
		request{"", http.MethodPost, maps, `{`, nil},
		request{"", http.MethodPost, gadgets, `{"apiVersion": "fair.example.com/v1", "kind": "Gadget", "metadata": {"generateName": "fair-"}}`, nil},
		request{"", http.MethodPost, services, `{"metadata": {"name": "bad"}}`, nil},
		request{"", http.MethodDelete, maps, "", nil},
		request{"", http.MethodDelete, gadgets, "", nil},
		request{"", http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, nil},
		request{"", http.MethodPost, "/api/v1/namespaces/fair/pods/pod/exec?command=a", "", nil},
		request{"", http.MethodPost, "/api/v1/namespaces/fair/pods/pod/eviction", `{}`, nil},
		request{"", http.MethodPost, "/healthz", "", nil},
		request{"", http.MethodHead, maps, "", nil},
		request{"", http.MethodOptions, gadgets, "", nil},
	)
}

// fairUsers are who sends them, as headers of the administrator's requests.
var fairUsers = map[string][]string{
	"administrator":   nil,
	"jane":            {"Impersonate-User", "fair-jane"},
	"powerless":       {"Impersonate-User", "fair-joe"},
	"node":            {"Impersonate-User", "system:node:fair-node", "Impersonate-Group", "system:nodes"},
	"controller":      {"Impersonate-User", "system:kube-controller-manager"},
	"service account": {"Impersonate-User", "system:serviceaccount:fair:fair", "Impersonate-Group", "system:serviceaccounts"},
	"of kube-system":  {"Impersonate-User", "system:serviceaccount:kube-system:fair", "Impersonate-Group", "system:serviceaccounts"},
	"anonymous":       {"", "anonymous"},
	"bad token":       {"", "bad"},
}

// sendAs sends r as one of fairUsers.
func sendAs(ctx context.Context, config *rest.Config, r request, who string) (harness.Answer, error) {
	headers := fairUsers[who]
	switch who {
	case "hermit":
		headers = []string{"Impersonate-User", "fair-hermit"}
	case "anonymous":
		config, headers = anonymously(config), nil
	case "bad token":
		config, headers = withBadToken(config), nil
	}
	if r.body != "" {
		headers = append([]string{"Content-Type", "application/json"}, headers...)
	}
	return harness.Send(ctx, config, r.method, r.path, r.body, headers...)
}

// answersTo sends all requests, some of which wait for a second, side by side.
func answersTo(t *testing.T, api *harness.API, who string) map[string]harness.Answer {
	t.Helper()
	var mu sync.Mutex
	answers := map[string]harness.Answer{}
	var group errgroup.Group
	group.SetLimit(8)
	config := api.Config(t)
	for _, r := range fairRequests() {
		group.Go(func() error {
			got, err := sendAs(t.Context(), config, r, who)
			mu.Lock()
			defer mu.Unlock()
			answers[r.method+" "+r.path+" "+r.body] = got
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("by %s: %v", who, err)
	}
	return answers
}

// Every answer says as which flow and at which level the request was queued, once,
// where stock says so, whichever tier serves it; a level whose one seat is
// taken refuses as stock's does.
func TestFairnessLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	ours, stock := &harness.Shared(t).API, &harness.SharedStock(t).API
	for _, api := range []*harness.API{ours, stock} {
		prepareFair(t, api)
	}
	t.Run("classification", func(t *testing.T) {
		holdTheSeat(t, ours)
		holdTheSeat(t, stock)
		named := map[*harness.API]map[string]string{ours: fairNames(t, ours), stock: fairNames(t, stock)}
		for _, who := range append([]string{"hermit"}, slices.Sorted(maps.Keys(fairUsers))...) {
			tell := func(api *harness.API) map[string]string {
				said := map[string]string{}
				for r, got := range answersTo(t, api, who) {
					said[r] = fmt.Sprintf("%d %v", got.Code, classified(named[api], got.Header))
					if retry := got.Header.Get("Retry-After"); (got.Code == http.StatusTooManyRequests) != (retry != "") {
						t.Errorf("%s by %s: %s, Retry-After %q", r, who, got, retry)
					}
				}
				return said
			}
			if diff := cmp.Diff(tell(stock), tell(ours)); diff != "" {
				t.Errorf("by %s (- stock, + ours)\n%s", who, firstLines(diff, 60))
			}
		}
	})
	t.Run("refusal", func(t *testing.T) {
		holdTheSeat(t, ours)
		holdTheSeat(t, stock)
		for _, path := range []string{"/api/v1/configmaps", "/apis/" + fairGroup + "/v1/gadgets?watch=true", "/apis/apiregistration.k8s.io/v1/apiservices", "/apis/behind.example.com/v1/things", "/version"} {
			tell := func(api *harness.API) any {
				got := harness.Must(sendAs(t.Context(), api.Config(t), request{"", http.MethodGet, path, "", nil}, "hermit"))(t)
				for _, name := range []string{"Date", "Audit-Id", flowSchemaHeader, priorityLevelHeader, "Retry-After"} {
					if len(got.Header[name]) != 1 {
						t.Errorf("%s: %s is %q", path, name, got.Header[name])
					}
					delete(got.Header, name)
				}
				return fmt.Sprintln(got, got.Header)
			}
			if diff := cmp.Diff(tell(stock), tell(ours)); diff != "" {
				t.Errorf("%s (- stock, + ours)\n%s", path, diff)
			}
		}
	})
	t.Run("once", func(t *testing.T) { queuesOnce(t, ours) })
	t.Run("dumps", func(t *testing.T) { showsItsQueues(t, ours, stock) })
}

// showsItsQueues compares what each tier tells about its levels with what stock does.
func showsItsQueues(t *testing.T, ours, stock *harness.API) {
	const dumps = "/debug/api_priority_and_fairness/"
	for _, dump := range []string{"dump_priority_levels", "dump_queues", "dump_requests", "dump_requests?includeRequestDetails=1"} {
		tell := func(api *harness.API, prefix string) any {
			got := api.Get(t, prefix+dumps+dump)
			all := strings.Split(strings.TrimSpace(string(got.Body)), "\n")
			levels := map[string]bool{}
			for _, line := range all[1:] {
				name, _, _ := strings.Cut(line, ",")
				levels[strings.TrimSpace(name)] = !strings.Contains(dump, "requests")
			}
			if strings.Contains(dump, "requests") {
				levels = nil // this one among them, as a rule
			}
			return fmt.Sprint(got.Code, got.Header["Content-Type"], strings.Fields(all[0]), levels)
		}
		want := tell(stock, "")
		for _, prefix := range []string{"", "/debug/tiers/aggregator", "/debug/tiers/core", "/debug/tiers/extensions"} {
			harness.Eventually(t, soon, prefix+" shows the levels that stock does", func() error {
				if diff := cmp.Diff(want, tell(ours, prefix)); diff != "" {
					return fmt.Errorf("%s: (- stock, + ours)\n%s", dump, diff)
				}
				return nil
			})
		}
	}
}

// queuesOnce demands that a request is queued by the tier that serves it alone.
func queuesOnce(t *testing.T, ours *harness.API) {
	for path, tier := range map[string]string{
		fairPaths[0]: "core", fairPaths[1]: "extensions", fairPaths[2]: "aggregator",
		"/nothing": "core", "/apis/nothing.example.com/v1/things": "extensions", "/apis/behind.example.com/v1/things": "aggregator",
	} {
		before := byTier(t, ours, "dispatched_requests_total", "fair")
		const many = 10
		for range many {
			harness.Must(sendAs(t.Context(), ours.Config(t), request{"", http.MethodGet, path, "", nil}, "jane"))(t)
		}
		for name, n := range byTier(t, ours, "dispatched_requests_total", "fair") {
			want := 0
			if name == tier {
				want = many
			}
			if got := n - before[name]; got != want {
				t.Errorf("%s: %d requests were queued in %s, want %d", path, got, name, want)
			}
		}
	}
}

// byTier reads what the tiers say of a priority level.
func byTier(t *testing.T, api *harness.API, metric, level string) map[string]int {
	t.Helper()
	values := map[string]int{}
	for line := range strings.Lines(string(api.Get(t, "/metrics").Body)) {
		labels, ok := strings.CutPrefix(line, "apiserver_flowcontrol_"+metric+"{")
		if !ok || !strings.Contains(labels, `priority_level="`+level+`"`) {
			continue
		}
		_, tier, _ := strings.Cut(labels, `tier="`)
		tier, _, _ = strings.Cut(tier, `"`)
		_, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		values[tier] += harness.Must(strconv.Atoi(value))(t)
	}
	return values
}
