package serving

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// SelfRule is what a tier may ask of core and the head as itself.
type SelfRule struct {
	Verbs []string
	Group string
	// Resources are plurals, with "/SUBRESOURCE" for one of those.
	Resources []string
	// Why is what it is for.
	Why string
}

var (
	read    = []string{"get", "list", "watch"}
	changes = []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	renew   = []string{"get", "update", "patch"}
)

// judging is what every tier needs to authorize, queue and admit.
var judging = []SelfRule{
	{read, "rbac.authorization.k8s.io", []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"}, "authorization"},
	{read, "flowcontrol.apiserver.k8s.io", []string{"flowschemas", "prioritylevelconfigurations"}, "fairness"},
	{renew, "flowcontrol.apiserver.k8s.io", []string{"flowschemas/status"}, "fairness says which level is missing"},
	{read, "admissionregistration.k8s.io", []string{
		"validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies",
		"validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
	}, "admission"},
	{read, "", []string{"namespaces", "resourcequotas"}, "admission: namespaces and quotas"},
	{[]string{"create"}, "", []string{"namespaces"}, "admission: NamespaceAutoProvision makes those that are missing"},
	{renew, "", []string{"resourcequotas/status"}, "admission counts what quotas are used"},
	{read, "", []string{"services", "endpoints", "nodes"}, "where webhooks, aggregated servers and nodes are"},
	{read, "discovery.k8s.io", []string{"endpointslices"}, "where webhooks and aggregated servers are"},
}

// SelfRules are the rules of the tiers that are not the API itself. Core may do
// everything. What describes the API may be read, too, and a built-in kind that a policy
// names for its parameters; a path that a webhook is configured with may be posted to.
// Other kinds are extensions' own or of aggregated servers: parameters, and webhooks
// behind the Service of the API, which are written to. A tier of the version before asks
// by the same table during an upgrade: a rule that nobody needs any more stays for one version.
func SelfRules(name tier.Name) []SelfRule {
	switch name {
	case tier.Extensions:
		return append(slices.Clone(judging), SelfRule{changes, "apiextensions.k8s.io",
			[]string{"customresourcedefinitions", "customresourcedefinitions/status"}, "its own"})
	case tier.Aggregator:
		return append(slices.Clone(judging),
			SelfRule{changes, "apiregistration.k8s.io", []string{"apiservices", "apiservices/status"}, "its own"},
			// Upstream's hook built-in-resources-storage-version-updater, which runs behind the gate StorageVersionAPI.
			SelfRule{[]string{"get"}, "coordination.k8s.io", []string{"leases"}, "whether the lease of this API server is there"},
			SelfRule{[]string{"get", "create"}, "internal.apiserver.k8s.io", []string{"storageversions"}, "in which version it stores"},
			SelfRule{renew, "internal.apiserver.k8s.io", []string{"storageversions/status"}, "in which version it stores"})
	}
	return nil
}

// refusedSelf counts what tiers asked as themselves and were refused.
var refusedSelf = metrics.NewCounterVec(&metrics.CounterOpts{
	Namespace: "triptych", Name: "own_calls_refused_total", StabilityLevel: metrics.ALPHA,
	Help: "Calls that a tier made as itself and has no business with, by the tier. Any is a bug, or a tier that somebody has taken over.",
}, []string{"peer"})

func init() { legacyregistry.MustRegister(refusedSelf) }

// describing are the paths, and those below, that describe the API and tell health.
var describing = []string{"/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"}

// SelfRights refuses what a tier asks as itself and does not need. Its certificate makes
// it the user of upstream's loopback client everywhere, a cluster administrator; whoever
// has taken over extensions must not be one. It is for core and for the head, and works
// in front of the router, so that it does not matter who serves what is asked.
type SelfRights struct {
	informers informers.SharedInformerFactory
	info      request.RequestInfoFactory
}

// NewSelfRights reads from informers what policies name. They may be nil.
func NewSelfRights(informers informers.SharedInformerFactory) *SelfRights {
	return &SelfRights{informers: informers, info: request.RequestInfoFactory{
		APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
	}}
}

// Guard is the filter. It comes after WithIdentity.
func (s *SelfRights) Guard(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, inner := hop.PeerFrom(r.Context())
		if !inner || peer.Role != identity.Self || s.allows(peer.Name, r) {
			handler.ServeHTTP(w, r)
			return
		}
		refusedSelf.WithLabelValues(string(peer.Name)).Inc()
		klog.ErrorS(nil, "Refusing what a tier has no business with", "peer", peer, "method", r.Method, "path", r.URL.Path, "userAgent", r.UserAgent())
		WriteError(w, r, apierrors.NewForbidden(schema.GroupResource{}, "", fmt.Errorf("%s has no business with %s %s", peer, r.Method, r.URL.Path)))
	})
}

func (s *SelfRights) allows(name tier.Name, r *http.Request) bool {
	if name == tier.Core {
		return true
	}
	for header := range r.Header {
		if strings.HasPrefix(header, "Impersonate-") {
			return false
		}
	}
	// What is looked at here and what is served must be one: no tier asks for a path with dots or double slashes.
	if path.Clean(r.URL.Path) != strings.TrimSuffix(r.URL.Path, "/") {
		return false
	}
	info, err := s.info.NewRequestInfo(r)
	if err != nil {
		return false
	}
	if r.Method == http.MethodPost && !s.mayCreate(name, info) {
		return s.await(r.Context(), func() bool { return s.isWebhook(r.URL.Path) })
	}
	if !info.IsResourceRequest {
		return slices.Contains([]string{"get", "head"}, info.Verb) && slices.ContainsFunc(describing, func(path string) bool {
			return info.Path == path || strings.HasPrefix(info.Path, path+"/")
		})
	}
	if listed(name, info) {
		return true
	}
	if !slices.Contains(read, info.Verb) && info.Verb != "create" {
		return false
	}
	return !builtIn(info.APIGroup) || info.Subresource == "" && slices.Contains(read, info.Verb) &&
		s.await(r.Context(), func() bool { return s.isParameter(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}) })
}

// listed tells whether a rule of the tier allows it.
func listed(name tier.Name, info *request.RequestInfo) bool {
	resource := info.Resource
	if info.Subresource != "" {
		resource += "/" + info.Subresource
	}
	return slices.ContainsFunc(SelfRules(name), func(rule SelfRule) bool {
		return rule.Group == info.APIGroup && slices.Contains(rule.Verbs, info.Verb) && slices.Contains(rule.Resources, resource)
	})
}

// mayCreate tells whether a POST needs no webhook's configuration to be allowed.
func (s *SelfRights) mayCreate(name tier.Name, info *request.RequestInfo) bool {
	return info.IsResourceRequest && (listed(name, info) || !builtIn(info.APIGroup))
}

// builtIn tells of groups whose kinds core has, or the head.
func builtIn(group string) bool {
	return scheme.Scheme.IsGroupRegistered(group) || group == "apiregistration.k8s.io" || group == "apiextensions.k8s.io"
}

// heard bounds how much later this process may hear of a policy or webhook than the tier that acts on it.
const heard = 500 * time.Millisecond

// await tells whether what an administrator has configured allows it, once this process has had the time to hear of it.
func (s *SelfRights) await(ctx context.Context, allows func() bool) bool {
	if s.informers == nil {
		return false
	}
	return wait.PollUntilContextTimeout(ctx, heard/20, heard, true, func(context.Context) (bool, error) {
		return allows(), nil
	}) == nil
}

// isWebhook tells whether a webhook is configured to be asked at this path of the API: it may be any, and so as in
// kube-apiserver. Webhooks that convert are known to extensions alone; they are asked at APIs that are not built in.
func (s *SelfRights) isWebhook(path string) bool {
	v1 := s.informers.Admissionregistration().V1()
	here := func(c admissionv1.WebhookClientConfig) bool {
		return c.Service != nil && c.Service.Namespace == "default" && c.Service.Name == "kubernetes" &&
			c.Service.Path != nil && strings.Trim(*c.Service.Path, "/") == strings.Trim(path, "/")
	}
	validating, _ := v1.ValidatingWebhookConfigurations().Lister().List(labels.Everything())
	for _, c := range validating {
		if slices.ContainsFunc(c.Webhooks, func(w admissionv1.ValidatingWebhook) bool { return here(w.ClientConfig) }) {
			return true
		}
	}
	mutating, _ := v1.MutatingWebhookConfigurations().Lister().List(labels.Everything())
	for _, c := range mutating {
		if slices.ContainsFunc(c.Webhooks, func(w admissionv1.MutatingWebhook) bool { return here(w.ClientConfig) }) {
			return true
		}
	}
	return false
}

// isParameter tells whether a policy has objects of a built-in resource for its
// parameters. Without the informers of admission there is no policy that acts.
func (s *SelfRights) isParameter(resource schema.GroupResource) bool {
	for _, kind := range s.kinds() {
		gv, err := schema.ParseGroupVersion(kind.APIVersion)
		if err != nil {
			continue
		}
		if plural, _ := meta.UnsafeGuessKindToResource(gv.WithKind(kind.Kind)); plural.GroupResource() == resource {
			return true
		}
	}
	return false
}

func (s *SelfRights) kinds() []*admissionv1.ParamKind {
	var all []*admissionv1.ParamKind
	v1 := s.informers.Admissionregistration().V1()
	validating, _ := v1.ValidatingAdmissionPolicies().Lister().List(labels.Everything())
	for _, p := range validating {
		if p.Spec.ParamKind != nil {
			all = append(all, p.Spec.ParamKind)
		}
	}
	mutating, _ := v1.MutatingAdmissionPolicies().Lister().List(labels.Everything())
	for _, p := range mutating {
		if p.Spec.ParamKind != nil {
			all = append(all, p.Spec.ParamKind)
		}
	}
	return all
}

// SelfTable is the rules as a table of Markdown.
func SelfTable() string {
	var b strings.Builder
	b.WriteString("| who | may | of | what for |\n|---|---|---|---|\n")
	for _, rule := range judging {
		row(&b, "extensions, aggregator", rule)
	}
	for _, name := range []tier.Name{tier.Extensions, tier.Aggregator} {
		for _, rule := range SelfRules(name)[len(judging):] {
			row(&b, string(name), rule)
		}
	}
	return b.String()
}

func row(b *strings.Builder, who string, r SelfRule) {
	group := r.Group
	if group == "" {
		group = "core"
	}
	fmt.Fprintf(b, "| %s | %s | %s of %s | %s |\n", who, strings.Join(r.Verbs, ", "), strings.Join(r.Resources, ", "), group, r.Why)
}
