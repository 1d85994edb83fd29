package spine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// tierAnnotation is what our events have and stock's lack.
const tierAnnotation = "triptych.dev/tier"

// auditPolicy has every level and every stage.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: None, users: ["system:apiserver"]}
- {level: RequestResponse, resources: [{group: "", resources: [configmaps]}, {group: audited.example.com}, {group: apiregistration.k8s.io}]}
- {level: Metadata, resources: [{group: "", resources: [secrets]}], omitStages: [RequestReceived]}
- {level: Request}
`

// auditedRequest is a request, who sends it, and the tier that is to judge it.
type auditedRequest struct {
	request
	by func(*rest.Config) *rest.Config
	in string
}

func administrator(c *rest.Config) *rest.Config { return c }

func anonymously(c *rest.Config) *rest.Config { return rest.AnonymousClientConfig(c) }

func withBadToken(c *rest.Config) *rest.Config {
	c = rest.AnonymousClientConfig(c)
	c.BearerToken = "bad"
	return c
}

func auditedRequests() []auditedRequest {
	const core, custom, services = "/api/v1/namespaces/default/configmaps", "/apis/audited.example.com/v1/namespaces/default/gadgets", "/apis/apiregistration.k8s.io/v1/apiservices"
	const secret = `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "quiet"}, "stringData": {"a": "b"}}`
	const review = `{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}`
	jane := []string{"Impersonate-User", "jane", "Impersonate-Group", "system:masters", "Impersonate-Extra-Scopes", "a"}
	merge := []string{"Content-Type", "application/merge-patch+json"}
	through := []string{"X-Forwarded-For", "203.0.113.7, 198.51.100.3", "User-Agent", "audited/1.0"}
	all := []auditedRequest{
		{request{"secret", "POST", "/api/v1/namespaces/default/secrets", secret, nil}, administrator, "core"},
		{request{"review", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, nil}, administrator, "core"},
		{request{"version", "GET", "/version", "", through}, anonymously, "aggregator"},
		{request{"healthy", "GET", "/livez", "", nil}, anonymously, "aggregator"},
		{request{"groups", "GET", "/apis", "", nil}, administrator, "aggregator"},
		{request{"unknown group", "GET", "/apis/nothing.example.com/v1/things", "", nil}, administrator, "extensions"},
		{request{"unknown path", "GET", "/nothing?a=b", "", nil}, administrator, "core"},
		{request{"bad token", "GET", core, "", through}, withBadToken, "aggregator"},
		{request{"bad token, custom", "GET", custom, "", nil}, withBadToken, "aggregator"},
		{request{"not allowed", "GET", core, "", nil}, anonymously, "core"},
		{request{"not allowed, custom", "GET", custom, "", nil}, anonymously, "extensions"},
		{request{"not allowed to impersonate", "GET", custom, "", jane}, anonymously, "extensions"},
	}
	objects := map[string]string{
		core:     `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "b"}}`,
		custom:   `{"apiVersion": "audited.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": 1}}`,
		services: `{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "one"}, "spec": {"group": "", "version": "x"}}`,
	}
	for path, in := range map[string]string{core: "core", custom: "extensions", services: "aggregator"} {
		for _, r := range []request{
			{"create", "POST", path, objects[path], nil},
			{"create again", "POST", path + "?fieldManager=me", objects[path], jane},
			{"get", "GET", path + "/one", "", jane},
			{"missing", "GET", path + "/missing", "", nil},
			{"patch", "PATCH", path + "/one", `{"metadata": {"labels": {"a": "b"}}}`, merge},
			{"bad patch", "PATCH", path + "/one", `{`, merge},
			{"list", "GET", path + "?limit=1&fieldSelector=metadata.name%3Done", "", through},
			{"watch", "GET", path + "?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dnone", "", nil},
			{"not allowed", "DELETE", path + "/one", "", []string{"Impersonate-User", "jane"}},
			{"delete", "DELETE", path + "/one", "", nil},
		} {
			all = append(all, auditedRequest{r, administrator, in})
		}
	}
	return all
}

// For each request the same events as behind stock, in the one log of three
// processes: stages, levels, users, addresses, bodies, annotations, each once.
// What tells them apart is an annotation that names the tier.
func TestAuditLogLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	policy := harness.TempDir(t) + "/policy.yaml"
	harness.WriteFile(t, policy, []byte(auditPolicy), 0o600)
	ours, stock := sideBySide(t, "--audit-policy-file="+policy)
	for _, b := range []*beside{ours, stock} {
		installCRD(t, b.API, "audited.example.com")
		b.Kubectl(t, "wait", "--for=create", "--timeout=60s", "namespace/default")
	}
	for i, r := range auditedRequests() {
		name := fmt.Sprintf("%s %s %s", r.in, r.what, r.method)
		t.Run(name, func(t *testing.T) {
			id := fmt.Sprintf("audited-%d.", i)
			want, got := stock.eventsOf(t, id, r), ours.eventsOf(t, id, r)
			for _, event := range got {
				annotations, _ := event["annotations"].(map[string]any)
				if annotations[tierAnnotation] != r.in {
					t.Errorf("judged by %v, want %s", annotations[tierAnnotation], r.in)
				}
				delete(annotations, tierAnnotation)
				if len(annotations) == 0 {
					delete(event, "annotations")
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(- stock, + ours)\n%s", firstLines(diff, 60))
			}
		})
	}
}

// eventsOf sends the request with an audit ID and returns its events in order.
func (b *beside) eventsOf(t *testing.T, id string, r auditedRequest) []map[string]any {
	t.Helper()
	headers := append([]string{"Audit-Id", id}, r.headers...)
	if r.body != "" && !slices.Contains(headers, "Content-Type") {
		headers = append(headers, "Content-Type", "application/json")
	}
	answer := harness.Must(harness.Send(t.Context(), r.by(b.Config(t)), r.method, r.path, r.body, headers...))(t)
	if got := answer.Header.Get("Audit-Id"); got != id {
		t.Errorf("the answer is of %q: %s", got, answer)
	}
	var events []map[string]any
	harness.Eventually(t, soon, "the end of the request is audited", func() error {
		events = nil
		log, err := os.ReadFile(b.audit)
		for line := range strings.Lines(string(log)) {
			var event map[string]any
			if strings.Contains(line, `"auditID":"`+id+`"`) && json.Unmarshal([]byte(line), &event) == nil {
				events = append(events, event)
			}
		}
		if err == nil && !slices.ContainsFunc(events, ended) {
			err = fmt.Errorf("%d events", len(events))
		}
		return err
	})
	for _, event := range events {
		b.normal(event)
		delete(event, "requestReceivedTimestamp")
		delete(event, "stageTimestamp")
		annotations, _ := event["annotations"].(map[string]any)
		for key := range annotations {
			if strings.HasPrefix(key, "apiserver.latency.k8s.io/") {
				delete(annotations, key)
			}
		}
	}
	return events
}

// ended tells whether no event can follow. A request without a valid identity has
// this one alone.
func ended(event map[string]any) bool {
	status, _ := event["responseStatus"].(map[string]any)
	return event["stage"] == "ResponseComplete" || status["code"] == float64(http.StatusUnauthorized)
}
