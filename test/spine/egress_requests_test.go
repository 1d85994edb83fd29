package spine

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// egressRequest is sent to both, and leads to a server that only a proxy reaches.
type egressRequest struct{ what, who, method, path, body string }

// egressRequests is every way in which a tier calls another server.
var egressRequests = []egressRequest{
	{"log", "", "GET", "/api/v1/namespaces/default/pods/egress/log", ""},
	{"node", "", "GET", "/api/v1/nodes/egress/proxy/a%2Fb?c", ""},
	{"pod", "", "GET", podProxy + "/a", ""},
	{"service", "", "GET", serviceProxy + "/a", ""},
	{"conversion by a Service", "", "GET", convertedPath("byservice", "v2") + "/one", ""},
	{"conversion by a URL", "", "GET", convertedPath("byurl", "v2") + "/one", ""},
	{"aggregated server", "", "GET", "/apis/behind.example.com/v1/things", ""},
	{"authorizer of core", "early-allowed", "GET", "/api/v1/namespaces/hooked/configmaps/none", ""},
	{"authorizer of extensions", "early-allowed", "GET", convertedPath("byurl", "v1") + "/none", ""},
	{"authorizer of the head", "early-allowed", "GET", "/apis/apiregistration.k8s.io/v1/apiservices/none", ""},
	{"refusal of core", "early-denied", "GET", "/api/v1/namespaces/hooked/configmaps/none", ""},
	{"refusal of extensions", "early-denied", "GET", convertedPath("byurl", "v1") + "/none", ""},
	{"refusal of the head", "early-denied", "GET", "/apis/apiregistration.k8s.io/v1/apiservices/none", ""},
	{"unknown token", "nobody", "GET", "/api/v1/namespaces", ""},
	hookedBy("service", "/api/v1/namespaces/hooked/configmaps", "v1", "ConfigMap", "{}"),
	hookedBy("url", "/api/v1/namespaces/hooked/configmaps", "v1", "ConfigMap", "{}"),
	hookedBy("service", convertedPath("byservice", "v1"), "converted.example.com/v1", "byservice", "{}"),
	hookedBy("url", convertedPath("byservice", "v1"), "converted.example.com/v1", "byservice", "{}"),
	hookedBy("service", "/apis/apiregistration.k8s.io/v1/apiservices", "apiregistration.k8s.io/v1", "APIService", local),
	hookedBy("url", "/apis/apiregistration.k8s.io/v1/apiservices", "apiregistration.k8s.io/v1", "APIService", local),
}

const local = `{"group": "none.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}`

// hookedBy creates what a webhook is asked about that is known by a Service or URL.
func hookedBy(known, path, version, kind, spec string) egressRequest {
	content := "data"
	if spec == local {
		content = "spec"
	}
	return egressRequest{"webhook by a " + known + " for " + kind, "", "POST", path + "?dryRun=All", fmt.Sprintf(
		`{"apiVersion": %q, "kind": %q, "metadata": {"name": "v1.none.example.com", "labels": {"egress": %q}}, %q: %s}`, version, kind, known, content, spec)}
}

// answer is what the client gets, and which proxy is where does not matter.
func (s *egressSide) answer(t *testing.T, r egressRequest) string {
	config := s.Config(t)
	if r.who != "" {
		config = s.Anonymous(t)
		config.BearerToken = "token-of-" + r.who
		if r.who == "nobody" {
			config.BearerToken += t.Name() // verdicts are kept for some time
		}
	}
	got, err := harness.Send(t.Context(), config, r.method, r.path, r.body, "Content-Type", "application/json")
	if err != nil {
		return err.Error()
	}
	return s.normal(fmt.Sprintf("%d %q %q %s", got.Code, got.Header["Warning"], got.Header["Retry-After"], got.Body))
}

// chance is what differs from one time to the next: how a timeout is told, the
// revision of an object, and what the kubelet was told to log.
var chance = regexp.MustCompile(`revision=\d+|context deadline exceeded( \(Client.Timeout exceeded while awaiting headers\))?|` +
	`net/http: request canceled[^"\n]*|/(ours|stock)/`)

// normal replaces what no two have in common.
func (s *egressSide) normal(text string) string {
	return chance.ReplaceAllString(strings.ReplaceAll(plain(text), filepath.Dir(s.ConfigFile), "DIR"), "*")
}

// tierLabel is what ours adds to a series.
var tierLabel = regexp.MustCompile(`,tier="(\w+)"|tier="(\w+)",?`)
