package extensions

import (
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	apiextensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	generatedopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes/scheme"
	metricsfeatures "k8s.io/component-base/metrics/features"

	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/serving"
)

// newConfig takes the options to the configuration of upstream's server, and says
// how current the rights of users are.
func newConfig(p *process.Process, o *Options, caps *capped) (*apiserver.Config, *rights.Feed, error) {
	metricsfeatures.ApplyFeatureGates(utilfeature.DefaultFeatureGate)
	o.Metrics.Apply()
	addCodec(o)
	base, err := serving.Build(p, o.Options, serving.Kind{
		Scheme:    apiserver.Scheme,
		Codecs:    apiserver.Codecs,
		Naming:    []*runtime.Scheme{apiserver.Scheme, scheme.Scheme},
		OpenAPI:   generatedopenapi.GetOpenAPIDefinitions,
		Resources: apiserver.DefaultAPIResourceConfigSource(),
	})
	if err != nil {
		return nil, nil, err
	}
	c := base.Config
	if err := o.Dialer.Ask(p, c); err != nil {
		return nil, nil, err
	}
	c.AggregatedDiscoveryGroupManager = serving.NewDiscoveryManager()
	if err := serving.ExplainStorage(o.Etcd, o.Etcd.ApplyTo(c)); err != nil {
		return nil, nil, err
	}
	if err := o.Authorization.ApplyTo(wait.ContextForChannel(c.DrainedNotify()), c, base.Informers); err != nil {
		return nil, nil, err
	}
	if err := serving.ApplyAudit(p, o.Audit, c); err != nil {
		return nil, nil, err
	}
	// Webhooks may be served by the API itself, so their clients speak to the head.
	whole, err := p.ClientConfig(p.Wiring.Head)
	if err != nil {
		return nil, nil, err
	}
	resolver, err := o.Services.NewResolver(base.Informers, whole.Host)
	if err != nil {
		return nil, nil, err
	}
	auth := webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, c.EgressSelector, whole, c.TracerProvider)
	if err := o.Admission.ApplyTo(base, whole, resolver, auth); err != nil {
		return nil, nil, err
	}
	c.AdmissionControl = caps.on(c.AdmissionControl)
	return &apiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: *c, SharedInformerFactory: base.Informers},
		ExtraConfig: apiserver.ExtraConfig{
			CRDRESTOptionsGetter: apiextensionsoptions.NewCRDRESTOptionsGetter(*o.Etcd, c.ResourceTransformers, c.StorageObjectCountTracker),
			MasterCount:          1,
			ServiceResolver:      resolver,
			AuthResolverWrapper:  auth,
		},
	}, base.Rights, nil
}

// addCodec has CRDs stored as kube-apiserver stores them: as v1beta1, whose
// encoding is the shorter one.
func addCodec(o *Options) {
	o.Etcd.StorageConfig.Codec = apiserver.Codecs.LegacyCodec(v1beta1.SchemeGroupVersion, v1.SchemeGroupVersion)
	o.Etcd.StorageConfig.EncodeVersioner = runtime.NewMultiGroupVersioner(v1beta1.SchemeGroupVersion, schema.GroupKind{Group: v1beta1.GroupName})
}
