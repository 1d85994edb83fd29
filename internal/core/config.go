package core

import (
	"context"
	"fmt"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubeoptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"

	"triptych.dev/triptych/internal/dialer"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
)

// newConfig takes the options to upstream's control plane configuration, and
// says what core's calls to itself have to be told, and how nodes are reached.
func newConfig(ctx context.Context, p *process.Process, o *Options, completed kubeoptions.CompletedOptions) (*controlplane.Config, *loopback, *dialer.Nodes, error) {
	base, err := serving.Build(p, o.common(), serving.Kind{
		Scheme:    legacyscheme.Scheme,
		Codecs:    legacyscheme.Codecs,
		Naming:    []*runtime.Scheme{legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme},
		OpenAPI:   generatedopenapi.GetOpenAPIDefinitions,
		Resources: controlplane.DefaultAPIResourceConfigSource(),
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if base.Config.APIServerID, err = serverID(base.Config.APIServerID, p.Wiring.Replica); err != nil {
		return nil, nil, nil, err
	}
	nodes, err := o.Dialer.Keep(base.Config, base.Informers, completed.KubeletConfig.PreferredAddressTypes)
	if err != nil {
		return nil, nil, nil, err
	}
	loopback := &loopback{}
	if p.Wiring.IsHead() {
		err = completed.SecureServing.SecureServingOptions.ApplyTo(&base.Config.SecureServing)
	} else {
		err = splitLoopback(ctx, p, loopback, base.Config)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	storage, err := addStorage(base.Config, completed)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := addJudgement(p, base, completed); err != nil {
		return nil, nil, nil, err
	}
	config, _, _, err := app.CreateKubeAPIServerConfig(completed, base.Config, base.Informers, storage)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot configure the control plane: %w", err)
	}
	return config, loopback, nodes, nil
}

// splitLoopback watches the head, so that calls which are for it do not wait for
// one that is away.
func splitLoopback(ctx context.Context, p *process.Process, l *loopback, c *genericapiserver.Config) error {
	head, err := p.Watch(p.Wiring.Head)
	if err != nil {
		return err
	}
	go head.Run(context.WithoutCancel(ctx))
	whole, err := p.ClientConfig(p.Wiring.Head)
	if err != nil {
		return err
	}
	return l.split(c.LoopbackClientConfig, whole, head.Available)
}

func addStorage(c *genericapiserver.Config, completed kubeoptions.CompletedOptions) (*serverstorage.DefaultStorageFactory, error) {
	config := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(c.EffectiveVersion)
	config.APIResourceConfig = c.MergedResourceConfig
	config.DefaultResourceEncoding.SetEffectiveVersion(c.EffectiveVersion)
	factory, err := config.Complete(completed.Etcd).New()
	if err != nil {
		return nil, err
	}
	factory.StorageConfig.StorageObjectCountTracker = c.StorageObjectCountTracker
	return factory, serving.ExplainStorage(completed.Etcd, completed.Etcd.ApplyWithStorageFactoryTo(factory, c))
}

// addJudgement configures authentication, authorization and audit. The
// authenticator is for tokens, which the head asks about, and for TokenReview:
// requests come over the hop and are authenticated there.
func addJudgement(p *process.Process, base *serving.Base, completed kubeoptions.CompletedOptions) error {
	c := base.Config
	ctx := wait.ContextForChannel(c.DrainedNotify())
	err := completed.Authentication.ApplyTo(ctx, &c.Authentication, c.SecureServing, c.EgressSelector,
		c.OpenAPIConfig, c.OpenAPIV3Config, base.Client, base.Informers, c.APIServerID)
	if err != nil {
		return err
	}
	var rbac bool
	c.Authorization.Authorizer, c.RuleResolver, rbac, err = controlplaneapiserver.BuildAuthorizer(
		ctx, completed.CompletedOptions, c.EgressSelector, c.APIServerID, base.Informers)
	if err != nil {
		return fmt.Errorf("invalid authorization configuration: %w", err)
	}
	if !rbac {
		c.DisabledPostStartHooks.Insert(rbacrest.PostStartHookName)
	}
	return serving.ApplyAudit(p, completed.Audit, c)
}
