package extensions

import (
	"context"
	"fmt"
	"net/http"

	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// peers may connect to the hop listener of extensions: the head and core
// delegate, and extensions asks itself for CRDs.
var peers = serving.Peers{
	{Name: tier.Aggregator, Role: identity.Delegation},
	{Name: tier.Core, Role: identity.Delegation},
	{Name: tier.Extensions, Role: identity.Self},
}

func run(ctx context.Context, p *process.Process, o *Options) error {
	caps := newCapped(o.Caps)
	config, feed, err := newConfig(p, o, caps)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	core, err := p.Watch(tier.Core)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	head, err := p.Watch(p.Wiring.Head)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	lasting := context.WithoutCancel(ctx)
	established, err := awaitOthers(p, config.GenericConfig.LoopbackClientConfig)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	for _, watched := range []*handshake.Replicas{core, head, established.replicas} {
		go watched.Run(lasting)
	}
	if o.Authorization.NamesRBAC() {
		feed.Follow(lasting, o.Rights.MaxAge, core.Ping)
	}
	config.GenericConfig.BuildHandlerChainFunc = func(apiHandler http.Handler, c *genericapiserver.Config) http.Handler {
		asked := serving.WithRights(serving.InnerChain(apiHandler, c), feed, serving.InnerAuthenticator, c)
		asked = serving.WithKnown(asked, p.Informed)
		return serving.WithIdentity(serving.WithJudged(asked, apiHandler, p.Informed, c))
	}
	p.Listen()
	p.Reach(tier.Configured)
	if ctx, err = awaitCustody(ctx, p, o, config.GenericConfig); err != nil {
		return err
	}

	notFound := notfoundhandler.New(config.GenericConfig.Serializer, genericfilters.NoMuxAndDiscoveryIncompleteKey)
	server, err := config.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return fmt.Errorf("cannot construct extensions: %w", err)
	}
	if err := server.GenericAPIServer.AddReadyzChecks(serving.RightsCheck(p.Wiring.Tier, feed)); err != nil {
		return err
	}
	p.Reach(tier.Constructed)

	prepared := server.GenericAPIServer.PrepareRun()
	lister := server.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister()
	established.lister.Store(&lister)
	crds := newRegistered(server.Informers.Apiextensions().V1().CustomResourceDefinitions())
	caps.count(crds.lister, crds.informer.HasSynced)
	if err := (&burst{tell: p.Handshake.Burst}).follow(crds.informer); err != nil {
		return fmt.Errorf("cannot follow CRDs: %w", err)
	}
	return serving.Serve(ctx, p, server.GenericAPIServer, peers, crds, prepared.RunWithContext)
}
