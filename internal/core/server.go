package core

import (
	"context"
	"fmt"

	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	kubeoptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// peers may connect to core's hop listener: the head delegates, and every tier
// asks as itself.
var peers = serving.Peers{
	{Name: tier.Aggregator, Role: identity.Delegation},
	{Name: tier.Aggregator, Role: identity.Self},
	{Name: tier.Core, Role: identity.Self},
	{Name: tier.Extensions, Role: identity.Self},
}

func run(ctx context.Context, p *process.Process, o *Options, completed kubeoptions.CompletedOptions) error {
	extensions, err := delegate.New(context.WithoutCancel(ctx), p, tier.Extensions, o.GenericServerRunOptions.RequestTimeout)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	config, loopback, nodes, err := newConfig(ctx, p, o, completed)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	defer nodes.Close()
	routes := newRoutes(extensions, nodes, serving.NewSelfRights(config.ControlPlane.VersionedInformers), p.Informed)
	config.ControlPlane.Generic.BuildHandlerChainFunc = routes.chain
	direct := &direct{routes: routes, public: o.public}
	if p.Wiring.IsHead() {
		direct.rights = serving.RightsSynced(config.ControlPlane.VersionedInformers)
		config.ControlPlane.Generic.BuildHandlerChainFunc = direct.chain
	}
	shared, err := newEndpoints(p)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	retreat := &withdrawal{endpoints: shared}
	p.Handshake.RegisterWithdrawal(retreat.withdraw)
	p.Handshake.RegisterAuthenticator(newTokens(config.ControlPlane.Generic.Authentication, p.Informed))
	nodes.Tell(p.Handshake)
	p.Listen()
	p.Reach(tier.Configured)

	notFound := notfoundhandler.New(config.ControlPlane.Generic.Serializer, genericfilters.NoMuxAndDiscoveryIncompleteKey)
	whole := config.Complete()
	shared.EndpointReconciler = whole.Extra.EndpointReconcilerConfig.Reconciler
	whole.Extra.EndpointReconcilerConfig.Reconciler = shared
	server, err := whole.New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return fmt.Errorf("cannot construct core: %w", err)
	}
	generic := server.ControlPlane.GenericAPIServer
	retreat.server.Store(generic)
	if err := nodes.Follow(generic); err != nil {
		return fmt.Errorf("cannot keep tunnels to the nodes: %w", err)
	}
	if err := extensions.Await(ctx, tier.Constructed, p.Patience()); err != nil {
		return err
	}
	p.Reach(tier.Constructed)
	who := peers
	if p.Wiring.IsHead() {
		who = directPeers
		if err := direct.represent(ctx, p, generic); err != nil {
			return fmt.Errorf("cannot speak for extensions: %w", err)
		}
	}

	prepared := generic.PrepareRun()
	loopback.follow(generic.ListedPaths())
	routes.follow(ctx, generic.ListedPaths())
	if err := extensions.Await(ctx, tier.Prepared, p.Patience()); err != nil {
		return err
	}
	return serving.Serve(ctx, p, generic, who, nil, prepared.RunWithContext)
}
