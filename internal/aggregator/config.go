package aggregator

import (
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes/scheme"
	metricsfeatures "k8s.io/component-base/metrics/features"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"
	"k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	generatedopenapi "k8s.io/kube-aggregator/pkg/generated/openapi"

	"triptych.dev/triptych/internal/authentication"
	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// newConfig takes the options to the configuration of upstream's server, and
// says how clients are authenticated and how current their rights are.
func newConfig(p *process.Process, o *Options, core *delegate.Delegate) (*apiserver.Config, authenticator.Request, *rights.Feed, error) {
	metricsfeatures.ApplyFeatureGates(utilfeature.DefaultFeatureGate)
	o.Metrics.Apply()
	addCodec(o)
	base, err := serving.Build(p, o.Options, serving.Kind{
		Scheme:    aggregatorscheme.Scheme,
		Codecs:    aggregatorscheme.Codecs,
		Naming:    []*runtime.Scheme{aggregatorscheme.Scheme, scheme.Scheme},
		OpenAPI:   generatedopenapi.GetOpenAPIDefinitions,
		Resources: apiserver.DefaultAPIResourceConfigSource(),
	})
	if err != nil {
		return nil, nil, nil, err
	}
	c := base.Config
	c.Flagz = flags{own: c.Flagz, given: p.Flags, core: core}
	if err := o.Dialer.Ask(p, c); err != nil {
		return nil, nil, nil, err
	}
	// The head merges OpenAPI documents and does not publish one of its own.
	c.SkipOpenAPIInstallation = true
	if err := o.SecureServing.ApplyTo(&c.SecureServing); err != nil {
		return nil, nil, nil, err
	}
	clients, err := o.Authentication.ApplyTo(c, authentication.Tokens{Judge: authentication.NewMemory(core.Client, core.Life)})
	if err != nil {
		return nil, nil, nil, err
	}
	if err := serving.ExplainStorage(o.Etcd, o.Etcd.ApplyTo(c)); err != nil {
		return nil, nil, nil, err
	}
	if err := o.Authorization.ApplyTo(wait.ContextForChannel(c.DrainedNotify()), c, base.Informers); err != nil {
		return nil, nil, nil, err
	}
	if err := serving.ApplyAudit(p, o.Audit, c); err != nil {
		return nil, nil, nil, err
	}
	whole, err := p.ClientConfig(tier.Aggregator)
	if err != nil {
		return nil, nil, nil, err
	}
	resolver, err := o.Services.NewResolver(base.Informers, whole.Host)
	if err != nil {
		return nil, nil, nil, err
	}
	auth := webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, c.EgressSelector, whole, c.TracerProvider)
	if err := o.Admission.ApplyTo(base, whole, resolver, auth); err != nil {
		return nil, nil, nil, err
	}
	return &apiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: *c, SharedInformerFactory: base.Informers},
		ExtraConfig: apiserver.ExtraConfig{
			ProxyClientCertFile:       o.ProxyClientCertFile,
			ProxyClientKeyFile:        o.ProxyClientKeyFile,
			ProxyTransport:            &http.Transport{},
			ServiceResolver:           resolver,
			RejectForwardingRedirects: o.RejectForwardingRedirects,
		},
	}, clients, base.Rights, nil
}

// addCodec has APIServices stored as kube-apiserver stores them.
func addCodec(o *Options) {
	o.Etcd.StorageConfig.Codec = aggregatorscheme.Codecs.LegacyCodec(v1.SchemeGroupVersion, v1beta1.SchemeGroupVersion)
	o.Etcd.StorageConfig.EncodeVersioner = runtime.NewMultiGroupVersioner(v1.SchemeGroupVersion, schema.GroupKind{Group: v1beta1.GroupName})
}
