package admission

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	webhookinitializer "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kubeadmission "k8s.io/kubernetes/pkg/kubeapiserver/admission"
	"k8s.io/kubernetes/pkg/kubeapiserver/admission/exclusion"

	"triptych.dev/triptych/internal/serving"
)

// ApplyTo sets the admission chain of base's configuration. whole reaches the
// API as a whole, through the head: parameters of policies may be of any kind,
// custom and aggregated ones included. Authorization must be applied before.
func (o *Options) ApplyTo(base *serving.Base, whole *rest.Config, resolver webhook.ServiceResolver, auth webhook.AuthenticationInfoResolverWrapper) error {
	anything, err := discovery.NewDiscoveryClientForConfig(whole)
	if err != nil {
		return fmt.Errorf("cannot make a client for the whole API: %w", err)
	}
	dynamic, err := dynamic.NewForConfig(whole)
	if err != nil {
		return fmt.Errorf("cannot make a client for the whole API: %w", err)
	}
	return o.generic.ApplyTo(base.Config, base.Informers, client{Clientset: base.Client, whole: anything}, dynamic,
		utilfeature.DefaultFeatureGate, base.Config.EffectiveVersion,
		webhookinitializer.NewPluginInitializer(auth, resolver), kubeadmission.NewPluginInitializer(), anyResource{})
}

// client asks core for what is core's and the head which kinds there are.
type client struct {
	*kubernetes.Clientset
	whole discovery.DiscoveryInterfaces
}

func (c client) Discovery() discovery.DiscoveryInterfaces { return c.whole }

// anyResource configures quota to count objects, which it can for every
// resource; what it computes of pods or volumes concerns core alone.
type anyResource struct{}

func (anyResource) Initialize(plugin admission.Interface) {
	if p, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		p.SetQuotaConfiguration(generic.NewConfiguration([]quota.Evaluator{}, map[schema.GroupResource]struct{}{}))
	}
	if p, ok := plugin.(initializer.WantsExcludedAdmissionResources); ok {
		p.SetExcludedAdmissionResources(exclusion.Excluded())
	}
}
