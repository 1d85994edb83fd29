package serving

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"

	"triptych.dev/triptych/internal/tier"
)

func TestTiersMayAskWhatTheyNeedAndNoMore(t *testing.T) {
	s := NewSelfRights(nil)
	for call, want := range map[string]struct{ extensions, aggregator bool }{
		"GET /api/v1/secrets":                                           {},
		"GET /api/v1/namespaces/default/secrets/x":                      {},
		"GET /api/v1/watch/secrets":                                     {},
		"GET //api/v1/secrets":                                          {},
		"GET /api/v1/pods":                                              {},
		"GET /api/v1/nodes/n/proxy/":                                    {},
		"POST /api/v1/namespaces/kube-system/serviceaccounts/x/token":   {},
		"POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings":   {},
		"DELETE /api/v1/namespaces/default":                             {},
		"POST /apis/certificates.k8s.io/v1/certificatesigningrequests":  {},
		"PUT /apis/apiregistration.k8s.io/v1/apiservices/x":             {aggregator: true},
		"PUT /apis/apiextensions.k8s.io/v1/customresourcedefinitions/x": {extensions: true},
		"GET /apis/rbac.authorization.k8s.io/v1/clusterroles?watch=1":   {true, true},
		"GET /api/v1/namespaces/default":                                {true, true},
		"PUT /api/v1/namespaces/default/resourcequotas/x/status":        {true, true},
		"PUT /api/v1/namespaces/default/resourcequotas/x":               {},
		"GET /apis/example.com/v1/gadgets":                              {true, true},
		"POST /apis/example.com/v1/validations":                         {true, true},
		"DELETE /apis/example.com/v1/gadgets":                           {},
		"GET /openapi/v3/apis/apps/v1":                                  {true, true},
		"GET /readyz":                                                   {true, true},
		"GET /metrics":                                                  {},
		"GET /debug/pprof/heap":                                         {},
		"POST /apis":                                                    {},
	} {
		method, path, _ := strings.Cut(call, " ")
		r := httptest.NewRequest(method, "https://localhost"+path, nil)
		for name, may := range map[tier.Name]bool{tier.Extensions: want.extensions, tier.Aggregator: want.aggregator, tier.Core: true, "stranger": false} {
			if got := s.allows(name, r); got != may && !(name == "stranger" && (want.extensions || want.aggregator)) {
				t.Errorf("%s: %s: %v, want %v", name, call, got, may)
			}
		}
		r.Header.Set("Impersonate-User", "admin")
		if s.allows(tier.Extensions, r) || s.allows(tier.Aggregator, r) {
			t.Errorf("%s may be somebody else", call)
		}
	}
}

// A policy's parameters may be of any kind, Secrets too, and a webhook behind any path of
// the API: the tier that judges by them has to ask.
func TestWhatPoliciesAndWebhooksNameMayBeAsked(t *testing.T) {
	factory := informers.NewSharedInformerFactory(nil, 0)
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	policy.Spec.ParamKind = &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	if err := factory.Admissionregistration().V1().ValidatingAdmissionPolicies().Informer().GetIndexer().Add(policy); err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/nodes/n/proxy/judge"
	hooks := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "h"}}
	hooks.Webhooks = []admissionv1.MutatingWebhook{{ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "kubernetes", Path: &path}}}}
	if err := factory.Admissionregistration().V1().MutatingWebhookConfigurations().Informer().GetIndexer().Add(hooks); err != nil {
		t.Fatal(err)
	}
	s := NewSelfRights(factory)
	for call, want := range map[string]bool{
		"POST " + path + "?timeout=1s": true, "GET " + path: false, "PUT " + path: false, "POST " + path + "/else": false,
		"GET /api/v1/configmaps": true, "GET /api/v1/namespaces/x/configmaps/y": true, "GET /api/v1/secrets": false, "DELETE /api/v1/configmaps": false,
	} {
		method, path, _ := strings.Cut(call, " ")
		if got := s.allows(tier.Extensions, httptest.NewRequest(method, path, nil)); got != want {
			t.Errorf("%s: %v, want %v", call, got, want)
		}
	}
}

func TestTheTableOfRightsIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/explanation/security.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), SelfTable()) {
		t.Errorf("docs/explanation/security.md lacks this table:\n%s", SelfTable())
	}
}
