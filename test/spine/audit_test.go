package spine

import (
	"encoding/json"
	"errors"
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
			{"large", "POST", path + "?dryRun=All", large(objects[path]), nil},
		} {
			all = append(all, auditedRequest{r, administrator, in})
		}
	}
	return all
}

// large is an object of more than an event at the webhook may have, unless it is cut.
func large(object string) string {
	return strings.Replace(object, `"name": "one"`, `"name": "one", "annotations": {"large": "`+strings.Repeat("x", 150_000)+`"}`, 1)
}

// For each request the same events as behind stock, in the one log of three
// processes and at the webhook: stages, levels, users, addresses, bodies,
// annotations, each once. What tells them apart is an annotation that names the
// tier. What waits for the webhook is sent to it during the stop.
func TestAuditLogLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/policy.yaml", []byte(auditPolicy), 0o600)
	sinks := map[string]*harness.AuditSink{}
	for _, name := range []string{"ours", "stock"} {
		sinks[name] = harness.StartAuditSink(t)
		if err := os.Symlink(sinks[name].Kubeconfig, files+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	ours, stock := sideBySide(t, "--audit-policy-file="+files+"/policy.yaml", "--audit-webhook-config-file="+files+"/SIDE",
		"--audit-webhook-truncate-enabled", "--audit-webhook-batch-max-size=100000", "--audit-webhook-batch-max-wait=1h")
	for _, b := range []*beside{ours, stock} {
		installCRD(t, b.API, "audited.example.com")
		b.Kubectl(t, "wait", "--for=create", "--timeout=60s", "namespace/default")
	}
	all := auditedRequests()
	for i, r := range all {
		t.Run(r.name(), func(t *testing.T) {
			id := fmt.Sprintf("audited-%d.", i)
			want, got := stock.eventsOf(t, id, r), ours.eventsOf(t, id, r)
			r.compare(t, want, got)
		})
	}
	harness.Eventually(t, soon, "each event is counted once", func() error {
		counted := 0.0
		for _, n := range countsIn(ours.Get(t, "/metrics"), []string{"apiserver_audit_event_total"}) {
			counted += n
		}
		log := harness.Must(os.ReadFile(ours.audit))(t)
		// The end of the request for the metrics comes after they are read.
		if logged := float64(strings.Count(string(log), "\n")); logged != counted+1 {
			return fmt.Errorf("%v are counted, %v logged", counted, logged)
		}
		return nil
	})
	for name, sink := range sinks {
		if n := sink.Batches.Load(); n > 0 {
			t.Errorf("the webhook of %s was sent %d batches too early", name, n)
		}
	}
	for _, b := range []*beside{ours, stock} {
		if err := b.end(harness.StopBound); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range all {
		t.Run("webhook "+r.name(), func(t *testing.T) {
			id := fmt.Sprintf("audited-%d.", i)
			want, err := stock.eventsIn(sinks["stock"].Path, id)
			got, oursErr := ours.eventsIn(sinks["ours"].Path, id)
			if err = errors.Join(err, oursErr); err != nil || len(want) == 0 {
				t.Fatalf("%d events: %v", len(want), err)
			}
			if cut := strings.Contains(fmt.Sprint(want), "audit.k8s.io/truncated:true"); cut != (r.what == "large") {
				t.Errorf("cut is %v", cut)
			}
			r.compare(t, want, got)
		})
	}
	t.Logf("the webhook was sent %d batches, stock's %d", sinks["ours"].Batches.Load(), sinks["stock"].Batches.Load())
}

func (r auditedRequest) name() string { return fmt.Sprintf("%s %s %s", r.in, r.what, r.method) }

// compare takes from our events what stock's lack, and demands that they are equal then.
func (r auditedRequest) compare(t *testing.T, want, got []map[string]any) {
	t.Helper()
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
	harness.Eventually(t, soon, "the end of the request is audited", func() (err error) {
		events, err = b.eventsIn(b.audit, id)
		if err == nil && !slices.ContainsFunc(events, ended) {
			err = fmt.Errorf("%d events", len(events))
		}
		return err
	})
	return events
}

// eventsIn returns what a file has under an audit ID, without what varies.
func (b *beside) eventsIn(path, id string) (events []map[string]any, err error) {
	log, err := os.ReadFile(path)
	for line := range strings.Lines(string(log)) {
		var event map[string]any
		if strings.Contains(line, `"auditID":"`+id+`"`) && json.Unmarshal([]byte(line), &event) == nil {
			events = append(events, event)
		}
	}
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
	return events, err
}

// ended tells whether no event can follow. A request without a valid identity has
// this one alone.
func ended(event map[string]any) bool {
	status, _ := event["responseStatus"].(map[string]any)
	return event["stage"] == "ResponseComplete" || status["code"] == float64(http.StatusUnauthorized)
}
