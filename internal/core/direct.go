package core

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/exposition"
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

// direct is what sets a core apart that clients reach without a head before it.
type direct struct {
	*routes
	public *serving.Public
	// rights tells whether all roles and bindings are known.
	rights func() bool
	// described is whether all groups of extensions are in discovery, or were.
	described atomic.Bool
}

// chain implements genericapiserver.Config.BuildHandlerChainFunc. Whose a token is
// depends on what core reads from storage, so before it was ready nobody is judged
// at all, but for who asks how it does: why it is not ready is then the question.
func (d *direct) chain(apiHandler http.Handler, c *genericapiserver.Config) http.Handler {
	here := *c
	here.Authentication.Authenticator = eitherWay(c.Authentication.Authenticator)
	apiHandler = d.nodes.Guarded(apiHandler, serving.Unavailable)
	apiHandler = exposition.New(tier.Core, apiHandler, exposition.Tier{Name: tier.Extensions, Judged: d.extensions.Judged(), Each: d.extensions.EachJudged})
	own := d.withAllGroups(genericapiserver.DefaultBuildHandlerChain(apiHandler, &here))
	asked := d.router(own, serving.WithDelegation(d.extensions, &here, here.Authentication.Authenticator))
	health, others := serving.WithKnown(asked, d.rights), serving.WithKnown(asked, d.ready)
	return d.public.Tell(d.nodes.Connecting(serving.WithIdentity(d.self.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); kind {
		case "healthz", "livez", "readyz":
			health.ServeHTTP(w, r)
		default:
			others.ServeHTTP(w, r)
		}
	})))))
}

// withAllGroups answers 503 for the list of groups until extensions has told once
// what it serves. Core is ready without extensions, and whoever deletes by
// discovery (the garbage collector, the namespace controller) takes what it lacks
// for gone. The tiers' own calls pass: admission needs the built-in kinds.
func (d *direct) withAllGroups(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimSuffix(r.URL.Path, "/") == "/apis" && !d.described.Load() && !serving.OfTier(r.Context()) {
			serving.Unavailable(w, r, "extensions has not said yet which APIs it serves")
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// eitherWay authenticates clients of the secure port by clients, and what came in
// over the private listener by who connected.
func eitherWay(clients authenticator.Request) authenticator.RequestFunc {
	return func(r *http.Request) (*authenticator.Response, bool, error) {
		if _, inner := hop.PeerFrom(r.Context()); inner {
			return serving.InnerAuthenticator(r)
		}
		serving.ReserveStackAgain(r.Context())
		return clients.AuthenticateRequest(r)
	}
}

// represent has core speak for extensions too, as a head does: its groups stand
// in core's discovery documents, and its checks in core's readiness. It comes
// before PrepareRun, after which no check can be added, and so waits until
// extensions can say which checks it has, or is taken to be away.
func (d *direct) represent(ctx context.Context, p *process.Process, server *genericapiserver.GenericAPIServer) error {
	extensions := d.extensions
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
		go func() {
			select {
			case <-feed.Whole():
				d.described.Store(true)
			case <-ctx.Done():
			}
		}()
		return nil
	})
}
