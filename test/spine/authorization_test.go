package spine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// authorizers is a configuration file: a webhook that is asked about the users
// for whom condition holds, then Node and RBAC.
func authorizers(webhook, condition, failurePolicy string) string {
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: judge
  webhook:
    authorizedTTL: 1s
    cacheAuthorizedRequests: false
    unauthorizedTTL: 1s
    cacheUnauthorizedRequests: false
    timeout: 5s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: %s
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %s}
    matchConditions:
    - expression: request.user.startsWith('%s-')
    - expression: "!has(request.resourceAttributes) || request.resourceAttributes.verb != 'delete'"
- {type: Node, name: node}
- {type: RBAC, name: rbac}
`, failurePolicy, webhook, condition)
}

// judgedUsers are the columns of --token-auth-file after the token, by token.
var judgedUsers = map[string]string{
	"early-allowed": "early-allowed,1,crowd", "early-denied": "early-denied,2,crowd", "early-shrug": "early-shrug,3,crowd",
	"early-broken": "early-broken,4,crowd", "late-allowed": "late-allowed,5,crowd", "late-denied": "late-denied,6,crowd", "late-broken": "late-broken,7,crowd",
	"denied-master": "early-denied,8,system:masters", "reader": "reader,9,", "nobody": "nobody,10,",
	"node": "system:node:n1,11,system:nodes", "nameless-node": "system:node:,12,system:nodes",
}

// judgedRights are what RBAC says: early-denied is a reader too.
const judgedRights = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: judged-reader}
rules:
- {apiGroups: ["", judged.example.com, apiregistration.k8s.io, judged-behind.example.com], resources: ["*"], verbs: [get, list, delete]}
- {nonResourceURLs: ["/metrics", "/judged/*"], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: judged-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: judged-reader}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: early-denied}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: late-denied}
`

// judgedRequests has one of each tier, and paths.
var judgedRequests = map[string]string{
	"core": "GET /api/v1/namespaces/default/secrets/none", "core, delete": "DELETE /api/v1/namespaces/default/configmaps/none",
	"custom": "GET " + "/apis/judged.example.com/v1/namespaces/default/gadgets/none", "custom, delete": "DELETE /apis/judged.example.com/v1/namespaces/default/gadgets/none",
	"custom, create": "POST /apis/judged.example.com/v1/namespaces/default/gadgets?dryRun=Some", "definitions": "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/none",
	"APIServices": "GET /apis/apiregistration.k8s.io/v1/apiservices/none", "APIServices, delete": "DELETE /apis/apiregistration.k8s.io/v1/apiservices/none",
	"aggregated": "GET /apis/judged-behind.example.com/v1/things", "path of the head": "HEAD /metrics", "version": "GET /version",
	"path of nobody": "GET /judged/path", "discovery": "GET /apis/judged.example.com/v1",
}

// judged is an API whose authorizers are configured by the file.
type judged struct {
	*harness.API
	file string
}

// A configuration of authorizers counts in every tier and for every kind of
// request as in stock, and so does what becomes of it when its file is replaced.
func TestAuthorizationConfigIsFollowedAsByStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	files, webhook := harness.TempDir(t), harness.StartAuthorizer(t)
	tokens := ""
	for token, columns := range judgedUsers {
		user, uid, _ := strings.Cut(columns, ",")
		uid, groups, _ := strings.Cut(uid, ",")
		tokens += fmt.Sprintf("%s,%s,%s,%q\n", token, user, uid, groups)
	}
	harness.WriteFile(t, files+"/tokens.csv", []byte(tokens), 0o600)
	flags := func(name string) []string {
		harness.WriteFile(t, files+"/"+name, []byte(authorizers(webhook.Kubeconfig, "early", "NoOpinion")), 0o600)
		return []string{"--token-auth-file=" + files + "/tokens.csv", "--authorization-config=" + files + "/" + name}
	}
	cluster := harness.Begin(t, harness.Options{Args: flags("ours")})
	server := harness.RunStock(t, flags("stock")...)
	cluster.WaitReady(t)
	ours, stock := judged{&cluster.API, files + "/ours"}, judged{&server.API, files + "/stock"}
	for _, side := range []judged{ours, stock} {
		installCRD(t, side.API, "judged.example.com")
		side.KubectlInput(t, judgedRights, "apply", "-f", "-")
		registerBackend(t, side.API, "judged-behind.example.com", "judged")
		for token, path := range map[string]string{"reader": "/metrics", "early-denied": "/metrics"} {
			want := map[string]int{"reader": http.StatusOK, "early-denied": http.StatusForbidden}[token]
			harness.Eventually(t, soon, "rights count", func() error { return side.answers(t, token, path, want) })
		}
	}
	t.Run("at the start", func(t *testing.T) { sameVerdicts(t, webhook, ours, stock) })

	for _, side := range []judged{ours, stock} {
		side.replace(t, authorizers(webhook.Kubeconfig, "late", "Deny"))
		for _, path := range []string{"/api/v1/secrets", "/apis/judged.example.com/v1/gadgets", "/apis/apiregistration.k8s.io/v1/apiservices", "/apis/judged-behind.example.com/v1/things"} {
			harness.Eventually(t, soon, "the change is known to who serves "+path, func() error { return side.answers(t, "late-allowed", path, http.StatusOK) })
		}
	}
	t.Run("after a change", func(t *testing.T) { sameVerdicts(t, webhook, ours, stock) })

	for _, bad := range []string{"]junk[", strings.Replace(authorizers(webhook.Kubeconfig, "early", "Deny"), "- {type: RBAC, name: rbac}\n", "", 1)} {
		failures := sameReloads(t, ours, stock)
		for _, side := range []judged{ours, stock} {
			side.replace(t, bad)
		}
		harness.Eventually(t, soon, "the bad file is read", func() error {
			if all := sameReloads(t, ours, stock); all == failures {
				return fmt.Errorf("still\n%s", all)
			}
			return nil
		})
	}
	t.Run("after mistakes", func(t *testing.T) { sameVerdicts(t, webhook, ours, stock) })
}

// registerBackend puts a server behind group/v1.
func registerBackend(t *testing.T, api *harness.API, group, namespace string) {
	t.Helper()
	b := harness.StartBackend(t, group, namespace, "backend", "http/1.1")
	service := harness.APIService{Group: group, Version: "v1", GroupPriority: 1000, VersionPriority: 15, Namespace: namespace, Service: "backend", Port: b.Port, CA: b.CA}
	api.KubectlInput(t, harness.ExternalService(namespace, "backend")+"---\n"+service.Manifest(), "apply", "-f", "-")
	served(t, api, "/apis/"+group+"/v1/things")
}

func (j judged) bearer(t *testing.T, token string) *rest.Config {
	config := j.Anonymous(t)
	config.BearerToken = token
	return config
}

func (j judged) answers(t *testing.T, token, path string, want int) error {
	return answersWith(t, j.bearer(t, token), path, want)
}

// answersWith returns an error unless GET of path is answered with the code.
func answersWith(t *testing.T, config *rest.Config, path string, want int) error {
	answer, err := harness.Send(t.Context(), config, http.MethodGet, path, "")
	if err == nil && answer.Code != want {
		err = fmt.Errorf("%s", answer)
	}
	return err
}

// replace has another file in the place at once: nobody reads half of it.
func (j judged) replace(t *testing.T, content string) {
	t.Helper()
	harness.WriteFile(t, j.file+".new", []byte(content), 0o600)
	if err := os.Rename(j.file+".new", j.file); err != nil {
		t.Fatal(err)
	}
}

// sameVerdicts sends every request as every user, and compares the answers and what
// the webhook was asked.
func sameVerdicts(t *testing.T, webhook *harness.Authorizer, ours, stock judged) {
	codes := map[int]int{}
	for _, token := range keys(judgedUsers) {
		for _, name := range keys(judgedRequests) {
			method, path, _ := strings.Cut(judgedRequests[name], " ")
			body := ""
			if method == http.MethodPost {
				body = `{"apiVersion":"judged.example.com/v1","kind":"Gadget","metadata":{"name":"g"}}` // a 400 to whoever may
			}
			var seen [2]string
			for i, side := range []judged{stock, ours} {
				webhook.Asked()
				got := harness.Must(harness.Send(t.Context(), side.bearer(t, token), method, path, body, "Content-Type", "application/json"))(t)
				codes[got.Code]++
				if path == "/version" || method == http.MethodHead || got.Code == http.StatusOK {
					got.Body, got.Header = nil, nil // it names the build, counts, or is a list of the backend's
				}
				seen[i] = comparable(got) + "\nasked: " + string(harness.Must(json.Marshal(webhook.Asked()))(t))
			}
			if diff := cmp.Diff(seen[0], seen[1]); diff != "" {
				t.Errorf("%s as %s (- stock, + ours):\n%s", judgedRequests[name], token, diff)
			}
		}
	}
	t.Log(codes)
}

var reloads = regexp.MustCompile(`(?m)^(apiserver_authorization_config_controller_(?:automatic_reloads_total|last_config_info))\{(.*)\} (\S+)$`)

// configHash is what a copy of the file cannot have in common with the file, since it names copies of what that names.
var configHash = regexp.MustCompile(`,hash="[^"]*"`)

// sameReloads demands that every tier counts reloads as stock does, and returns
// the count.
func sameReloads(t *testing.T, ours, stock judged) string {
	t.Helper()
	of := func(api *harness.API, path string) string {
		all := reloads.FindAllString(configHash.ReplaceAllString(string(api.Get(t, path).Body), ""), -1)
		slices.Sort(all)
		return strings.Join(all, "\n")
	}
	want := of(stock.API, "/metrics")
	for _, tier := range []string{"core", "extensions", "aggregator"} {
		harness.Eventually(t, soon, tier+" has read the file as often as stock", func() error {
			want = of(stock.API, "/metrics")
			if got := of(ours.API, "/debug/tiers/"+tier+"/metrics"); got != want || got == "" {
				return fmt.Errorf("%s, stock\n%s", got, want)
			}
			return nil
		})
	}
	return want
}
