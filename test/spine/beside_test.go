package spine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"triptych.dev/triptych/test/harness"
)

// beside is one of two APIs that are given the same requests, and the webhook
// that it asks.
type beside struct {
	*harness.API
	hook *harness.Webhook
	// audit is the path of the audit log, and dir has the PKI in it.
	audit, dir string
	// etcd keeps stock's data, and may keep more.
	etcd *harness.Etcd
	// output is what the process printed.
	output *harness.Output
	// insecure is the URL of the insecure port, which stock lacks.
	insecure string
	// end stops the API gracefully.
	end func(time.Duration) error
}

// request is one that both APIs are sent.
type request struct {
	what, method, path, body string
	headers                  []string
}

func (r request) send(t *testing.T, b *beside) harness.Answer {
	t.Helper()
	headers := r.headers
	if r.body != "" && !slices.Contains(headers, "Content-Type") {
		headers = append([]string{"Content-Type", "application/json"}, headers...)
	}
	return harness.Must(harness.Send(t.Context(), b.Config(t), r.method, r.path, r.body, headers...))(t)
}

// outcome is what a client and the webhooks see of one request, without what
// differs from server to server.
func (b *beside) outcome(t *testing.T, r request) any {
	t.Helper()
	b.hook.Forget()
	got := r.send(t, b)
	asked := slices.DeleteFunc(b.hook.Asked(), ofController)
	// Validating webhooks are called side by side.
	slices.SortStableFunc(asked, func(x, y harness.Asked) int { return strings.Compare(phase(x.Path), phase(y.Path)) })
	uids := map[string]bool{}
	var reviews []any
	for _, a := range asked {
		if a.UID() == "" || uids[a.UID()] {
			t.Errorf("a review comes twice: %v", a.Review)
		}
		uids[a.UID()] = true
		reviews = append(reviews, map[string]any{"path": a.Path, "query": a.Query, "review": a.Review, "header": headersOf(a.Header)})
	}
	var body any
	if json.Unmarshal(got.Body, &body) != nil {
		body = string(got.Body)
	}
	warnings := []any{}
	for _, w := range got.Header["Warning"] {
		warnings = append(warnings, w)
	}
	return b.normal(map[string]any{"code": float64(got.Code), "body": body, "warnings": warnings, "reviews": reviews, "annotations": b.audited(t, got)})
}

// ofController tells reviews of what the API's own controllers write at times of
// their own: whether the backend of an APIService is available.
func ofController(a harness.Asked) bool {
	request, _ := a.Review["request"].(map[string]any)
	user, _ := request["userInfo"].(map[string]any)
	return request["subResource"] == "status" && user["username"] == "system:apiserver"
}

// phase sorts mutating webhooks first, in their order.
func phase(p string) string {
	if path.Base(p) == "label" {
		return ""
	}
	return p
}

// headersOf are the headers by which a webhook could tell who calls.
func headersOf(header http.Header) map[string]any {
	kept := map[string]any{}
	for name, values := range header {
		switch {
		case name == "X-Remote-Uid", name == "X-Forwarded-For", name == "X-Forwarded-Host", name == "X-Forwarded-Uri", name == "Audit-Id", name == "Traceparent":
			kept[name] = len(values)
		case strings.HasPrefix(name, "X-"), name == "Content-Type", name == "Accept":
			kept[name] = strings.Join(values, ", ")
		}
	}
	return kept
}

// random is what servers draw, or what comes of their keys.
var random = regexp.MustCompile(`X509SHA256=[0-9a-f]+|kube-api-access-\w+|revision=\d+`)

// normal replaces what no two servers have in common.
func (b *beside) normal(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			value[key] = b.normal(v)
			switch key {
			case "uid", "creationTimestamp", "deletionTimestamp", "resourceVersion", "time", "lastTransitionTime", "observedGeneration":
				if text, ok := v.(string); ok && text != "" && !strings.HasPrefix(text, "test-") {
					value[key] = "some " + key
				}
			}
		}
		return value
	case []any:
		for i, v := range value {
			value[i] = b.normal(v)
		}
		slices.SortStableFunc(value, harness.ByManager)
		return value
	case string:
		value = random.ReplaceAllString(value, "some random")
		return strings.ReplaceAll(value, fmt.Sprint(b.hook.Port), "PORT")
	}
	return value
}

// audited are the annotations of the one event that the request is worth.
func (b *beside) audited(t *testing.T, got harness.Answer) any {
	t.Helper()
	var events []auditv1.Event
	harness.Eventually(t, soon, "the request is audited", func() error {
		events = nil
		log, err := os.ReadFile(b.audit)
		for line := range strings.Lines(string(log)) {
			var event auditv1.Event
			if strings.Contains(line, got.Header.Get("Audit-Id")) && json.Unmarshal([]byte(line), &event) == nil {
				events = append(events, event)
			}
		}
		if err == nil && len(events) == 0 {
			err = fmt.Errorf("no event %s", got.Header.Get("Audit-Id"))
		}
		return err
	})
	if len(events) != 1 {
		t.Errorf("%d audit events: %v", len(events), events)
	}
	annotations := map[string]any{}
	for key, value := range events[0].Annotations {
		if !strings.HasPrefix(key, "apiserver.latency.k8s.io/") && key != tierAnnotation { // of slow requests
			annotations[key] = value
		}
	}
	return annotations
}

// sideBySide starts ours and stock with the same flags, each with a webhook and an
// audit log of its own. SIDE in a flag becomes "ours" or "stock".
func sideBySide(t *testing.T, args ...string) (ours, stock *beside) {
	t.Helper()
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\n"+
		"rules: [{level: Request, users: [kubernetes-admin, \"system:unsecured\"]}]\n"), 0o600)
	flags := func(name string) []string {
		all := []string{"--audit-policy-file=" + files + "/audit.yaml", "--audit-log-path=" + files + "/" + name}
		for _, arg := range args {
			all = append(all, strings.ReplaceAll(arg, "SIDE", name))
		}
		return all
	}
	port := harness.Must(harness.FreePort())(t)
	c := harness.Run(t, harness.Options{Args: append(flags("ours"), fmt.Sprintf("--insecure-port=%d", port))})
	s := harness.RunStock(t, flags("stock")...)
	return &beside{&c.API, harness.StartWebhook(t, "hooks.hooked.svc"), files + "/ours", c.Dir, s.Etcd, c.Output, fmt.Sprintf("http://127.0.0.1:%d", port), c.End},
		&beside{&s.API, harness.StartWebhook(t, "hooks.hooked.svc"), files + "/stock", s.Dir, s.Etcd, s.Output, "", s.End}
}

// alike sends the request to both and compares all that comes of it.
func alike(t *testing.T, stock, ours *beside, r request) {
	t.Helper()
	want, got := stock.outcome(t, r), ours.outcome(t, r)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(- stock, + ours)\n%s", firstLines(diff, 80))
	}
	t.Log(summary(want))
}

// alikeButForReviews is alike where the API also asks webhooks at times of its
// own: to convert what its caches hold.
func alikeButForReviews(t *testing.T, stock, ours *beside, r request) {
	t.Helper()
	want, got := stock.outcome(t, r).(map[string]any), ours.outcome(t, r).(map[string]any)
	delete(want, "reviews")
	delete(got, "reviews")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(- stock, + ours)\n%s", firstLines(diff, 80))
	}
	t.Log(summary(want))
}

// summary says in a line what happened.
func summary(outcome any) string {
	o := outcome.(map[string]any)
	paths := []string{}
	reviews, _ := o["reviews"].([]any)
	for _, r := range reviews {
		paths = append(paths, r.(map[string]any)["path"].(string))
	}
	message := ""
	if body, ok := o["body"].(map[string]any); ok {
		message, _ = body["message"].(string)
	}
	return fmt.Sprintf("%v %s, asked %v, warned %v", o["code"], message, paths, o["warnings"])
}
