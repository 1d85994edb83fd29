package spine

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/types"

	"triptych.dev/triptych/test/harness"
)

// hooks is a server of webhooks that keeps what it is asked. On /mutate it adds
// an annotation, on /validate it refuses objects whose name says so.
type hooks struct {
	url, bundle string

	mu    sync.Mutex
	asked []string
}

func startHooks(t *testing.T) *hooks {
	t.Helper()
	h := &hooks{}
	ca := harness.Must(harness.NewCA("hooks"))(t)
	pair := harness.Must(ca.Issue(harness.Leaf{CommonName: "hooks", Hosts: []string{"127.0.0.1"}}))(t)
	l := harness.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	h.url, h.bundle = "https://"+l.Addr().String(), harness.Base64(ca.CertPEM())
	server := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair.TLS()}}}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
	return h
}

// ServeHTTP implements http.Handler.
func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	req := review.Request
	if strings.HasSuffix(req.Name, "hooked.example.com") {
		h.mu.Lock()
		h.asked = append(h.asked, fmt.Sprintf("%s %s %s %s by %s, old %t, new %t, dry run %t", r.URL.Path, req.Operation, req.Resource, req.Name,
			req.UserInfo.Username, req.OldObject.Raw != nil, req.Object.Raw != nil, *req.DryRun))
		h.mu.Unlock()
	}
	review.Response = &admissionv1.AdmissionResponse{UID: req.UID, Allowed: true}
	switch {
	case r.URL.Path == "/mutate" && req.Operation == admissionv1.Create:
		patch := admissionv1.PatchTypeJSONPatch
		review.Response.PatchType = &patch
		review.Response.Patch = []byte(`[{"op":"add","path":"/metadata/annotations","value":{"hooked":"yes"}}]`)
	case r.URL.Path == "/validate" && strings.HasPrefix(req.Name, "refused"):
		review.Response.Allowed = false
		review.Response.Warnings = []string{"a hook warns"}
	}
	review.Request = nil
	json.NewEncoder(w).Encode(review)
}

// take returns what was asked since the last time.
func (h *hooks) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.asked = nil }()
	return slices.Clone(h.asked)
}

const hookedPolicies = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: hooked}
webhooks:
- name: mutate.hooked.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: URL/mutate, caBundle: BUNDLE}
  rules: [{apiGroups: [apiregistration.k8s.io], apiVersions: ["*"], operations: ["*"], resources: [apiservices]}]
  matchConditions: [{name: ours, expression: request.name.endsWith("hooked.example.com")}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hooked}
webhooks:
- name: validate.hooked.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: URL/validate, caBundle: BUNDLE}
  rules: [{apiGroups: [apiregistration.k8s.io], apiVersions: ["*"], operations: ["*"], resources: [apiservices]}]
  matchConditions: [{name: ours, expression: request.name.endsWith("hooked.example.com")}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: hooked}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apiregistration.k8s.io], apiVersions: ["*"], operations: ["*"], resources: [apiservices]}]
  validations:
  - expression: "!request.name.startsWith('forbidden')"
    messageExpression: "'a policy forbids to ' + request.operation + ' ' + request.name"
  - expression: "!(request.operation == 'DELETE' && has(oldObject.metadata.labels) && 'keep' in oldObject.metadata.labels)"
    message: it is kept
  - expression: "!(request.operation == 'UPDATE' && object.spec.versionPriority > 100)"
    message: that is too much
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: hooked}
spec: {policyName: hooked, validationActions: [Deny]}
`

// admission compares what policies and webhooks do to APIServices, which the
// head serves, and how often they are asked.
func (a *aggregation) admission(t *testing.T) {
	h := startHooks(t)
	policies := strings.NewReplacer("URL", h.url, "BUNDLE", h.bundle).Replace(hookedPolicies)
	for _, s := range a.both() {
		s.apply(t, policies)
		defer s.KubectlInput(t, policies, "delete", "-f", "-")
	}
	const path = "/apis/apiregistration.k8s.io/v1/apiservices"
	local := func(version string) string {
		return fmt.Sprintf(`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"%[1]s.hooked.example.com"},`+
			`"spec":{"group":"hooked.example.com","version":"%[1]s","groupPriorityMinimum":1,"versionPriority":1}}`, version)
	}
	settle := func(version string) {
		// Policies and webhooks act a moment after they are made.
		a.equal(t, "admission acts", func(t *testing.T, s *side) any {
			answer, err := harness.Send(t.Context(), s.Config(t), http.MethodPost, path+"?dryRun=All", local(version), "Content-Type", "application/json")
			if said := told(answer, err); answer.Code != http.StatusForbidden && answer.Code != http.StatusUnprocessableEntity && answer.Code != http.StatusBadRequest {
				return s.name + " admits it: " + said
			}
			return "refused"
		})
	}
	settle("refused")
	settle("forbidden")
	h.take()
	for _, step := range []struct{ name, method, path, body string }{
		{"refused by the webhook", http.MethodPost, path, local("refused")},
		{"refused by the policy", http.MethodPost, path, local("forbidden")},
		{"dry run", http.MethodPost, path + "?dryRun=All", local("v1")},
		{"create", http.MethodPost, path, local("v1")},
		{"update refused by the policy", http.MethodPatch, path + "/v1.hooked.example.com", `{"spec":{"versionPriority":101}}`},
		{"update", http.MethodPatch, path + "/v1.hooked.example.com", `{"metadata":{"labels":{"keep":"yes"}}}`},
		{"delete refused by the policy", http.MethodDelete, path + "/v1.hooked.example.com", ""},
		{"update again", http.MethodPatch, path + "/v1.hooked.example.com", `{"metadata":{"labels":{"keep":null}}}`},
		{"delete", http.MethodDelete, path + "/v1.hooked.example.com", ""},
	} {
		t.Run(step.name, func(t *testing.T) {
			var asked []string
			a.same(t, "the answer, and who was asked", func(t *testing.T, s *side) any {
				content := "application/json"
				if step.method == http.MethodPatch {
					content = string(types.MergePatchType)
				}
				answer, err := harness.Send(t.Context(), s.Config(t), step.method, step.path, step.body, "Content-Type", content)
				asked = h.take()
				return map[string]any{"asked": asked, "answer": statusOf(answer, err)}
			})
			if slices.Sort(asked); len(asked) == 0 || len(slices.Compact(slices.Clone(asked))) != len(asked) {
				t.Errorf("webhooks were asked %q, each should be once", asked)
			}
		})
	}
}

// statusOf is an answer without what the registration controllers may have done
// to the object by then.
func statusOf(answer harness.Answer, err error) any {
	var object struct {
		Message  string
		Metadata struct{ Annotations, Labels map[string]string }
	}
	if err != nil || json.Unmarshal(answer.Body, &object) != nil {
		return told(answer, err)
	}
	return fmt.Sprintf("%d %q %q %v %v", answer.Code, answer.Header["Warning"], object.Message, object.Metadata.Annotations, object.Metadata.Labels)
}
