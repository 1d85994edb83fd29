package spine

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
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
