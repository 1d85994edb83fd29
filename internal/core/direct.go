package core

import (
	"context"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// This file is the direct mode: core is the head, with the secure port and the
// full handler chain in front of its own router, as upstream's Run served core
// when KUBE_API_VERSIONS was set. There is no aggregator, no APIService and no
// merged OpenAPI; extensions is behind core as ever.

// directPeers may connect to core's hop listener when it is the head's private
// one: the supervisor's insecure front delegates, and the tiers there are ask as
// themselves.
var directPeers = serving.Peers{
	{Name: identity.Supervisor, Role: identity.Delegation},
	{Name: tier.Core, Role: identity.Self},
	{Name: tier.Extensions, Role: identity.Self},
}

// directChain implements genericapiserver.Config.BuildHandlerChainFunc for a core
// that clients reach without a head before it. Whose a token is depends on what
// core reads from storage, so before it was ready nobody is judged at all.
func (r *routes) directChain(apiHandler http.Handler, c *genericapiserver.Config) http.Handler {
	here := *c
	here.Authentication.Authenticator = eitherWay(c.Authentication.Authenticator)
	own := genericapiserver.DefaultBuildHandlerChain(apiHandler, &here)
	asked := r.router(own, serving.WithDelegation(r.extensions, &here, here.Authentication.Authenticator))
	return serving.WithIdentity(serving.WithKnown(asked, r.ready))
}

// eitherWay authenticates clients of the secure port by clients, and what came in
// over the private listener by who connected.
func eitherWay(clients authenticator.Request) authenticator.RequestFunc {
	return func(r *http.Request) (*authenticator.Response, bool, error) {
		if _, inner := hop.PeerFrom(r.Context()); inner {
			return serving.InnerAuthenticator(r)
		}
		return clients.AuthenticateRequest(r)
	}
}

// represent has core speak for extensions too, as a head does: its groups stand
// in core's discovery documents, and its checks in core's readiness. It comes
// before PrepareRun, after which no check can be added, and so waits until
// extensions can say which checks it has, or is taken to be away.
func represent(ctx context.Context, p *process.Process, server *genericapiserver.GenericAPIServer, extensions *delegate.Delegate) error {
	if err := extensions.Await(ctx, tier.Prepared, p.Patience()); err != nil {
		return err
	}
	shown := map[string]bool{"informer-sync": true, "etcd-readiness": true, "shutdown": true}
	for _, check := range server.HealthzChecks() {
		shown[check.Name()] = true
	}
	if err := server.AddReadyzChecks(extensions.ReadyChecks(ctx, false, p.Patience(), shown)...); err != nil {
		return err
	}
	customs := newDirectory(server.AggregatedDiscoveryGroupManager, server.DiscoveryGroupManager, server.ListedPaths())
	return server.AddPostStartHook("triptych-discovery", func(ctx genericapiserver.PostStartHookContext) error {
		feed := delegate.NewFeed(extensions, func(metav1.GroupVersion) delegate.Source {
			return delegate.Source{Manager: customs, GroupPriority: customGroup, VersionPriority: customVersion}
		})
		go feed.Run(ctx)
		// Whoever deletes by discovery takes what it lacks for gone; but core must
		// come up without extensions, so this waits no longer than it waited before.
		bounded, cancel := context.WithDeadline(ctx, p.Patience())
		defer cancel()
		select {
		case <-feed.Entered():
		case <-bounded.Done():
		}
		return nil
	})
}
