package aggregator

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kube-aggregator/pkg/apiserver"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// peers may connect to the private listener: the supervisor's insecure front
// delegates, and every tier makes calls to the API as a whole as itself.
var peers = serving.Peers{
	{Name: identity.Supervisor, Role: identity.Delegation},
	{Name: tier.Aggregator, Role: identity.Self},
	{Name: tier.Core, Role: identity.Self},
	{Name: tier.Extensions, Role: identity.Self},
}

func run(ctx context.Context, p *process.Process, o *Options) error {
	if err := o.listen(p); err != nil {
		return process.ConfigurationError{Err: err}
	}
	// The delegates are watched until the last request has been answered.
	lasting := context.WithoutCancel(ctx)
	core, err := delegate.New(lasting, p, tier.Core, o.ServerRun.RequestTimeout)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	extensions, err := delegate.New(lasting, p, tier.Extensions, o.ServerRun.RequestTimeout)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	config, clients, feed, err := newConfig(p, o, core)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	routes := newRoutes(core, extensions, p.Informed)
	config.GenericConfig.BuildHandlerChainFunc = routes.chain(o.public, clients, serving.RightsSynced(config.GenericConfig.SharedInformerFactory), feed,
		serving.NewSelfRights(config.GenericConfig.SharedInformerFactory))
	p.Listen()
	p.Reach(tier.Configured)

	server, err := construct(ctx, p, o, config, core, extensions, &routes.described)
	if err != nil {
		return err
	}
	if err := routes.follow(server); err != nil {
		return err
	}
	if o.Authorization.NamesRBAC() {
		feed.Follow(lasting, o.Rights.MaxAge, core.Client.Ping)
	}
	if err := server.GenericAPIServer.AddReadyzChecks(serving.RightsCheck(p.Wiring.Tier, feed)); err != nil {
		return err
	}
	p.Reach(tier.Constructed)

	prepared, err := server.PrepareRun()
	if err != nil {
		return fmt.Errorf("cannot prepare the aggregator: %w", err)
	}
	return serving.Serve(ctx, p, server.GenericAPIServer, peers, nil, prepared.Run)
}

// construct builds the server once core has said which paths it serves: the
// APIServices to register, OpenAPI and the checks are made from that.
func construct(ctx context.Context, p *process.Process, o *Options, config *apiserver.Config, core, extensions *delegate.Delegate, described *atomic.Bool) (*apiserver.APIAggregator, error) {
	if err := extensions.Await(ctx, tier.Prepared, p.Patience()); err != nil {
		return nil, err
	}
	if err := awaitCore(ctx, core, config, o.public); err != nil {
		return nil, err
	}
	server, err := config.Complete().NewWithDelegate(core.Target(extensions.Target(nil)))
	if err != nil {
		return nil, fmt.Errorf("cannot construct the aggregator: %w", err)
	}
	state, _ := core.Client.State()
	if err := register(server, state.Routes.GetListedPaths(), extensions, p.Patience()); err != nil {
		return nil, err
	}
	if err := feedDiscovery(server, core, extensions, described); err != nil {
		return nil, err
	}
	return server, addChecks(ctx, p, server.GenericAPIServer, core, extensions)
}

// awaitCore returns when core is prepared. If that takes long, clients are told.
func awaitCore(ctx context.Context, core *delegate.Delegate, config *apiserver.Config, public *serving.Public) error {
	soon, cancel := context.WithTimeout(ctx, coreIsSoonThere)
	defer cancel()
	if core.WaitFor(soon, tier.Prepared) == nil {
		return nil
	}
	public.Open() // whoever else has the port knows no more
	waiting, err := standIn(config.GenericConfig.SecureServing)
	if err != nil {
		return fmt.Errorf("cannot answer on the secure port: %w", err)
	}
	defer waiting.end(context.WithoutCancel(ctx))
	return core.WaitFor(ctx, tier.Prepared)
}

// coreIsSoonThere is longer than core takes to prepare, as a rule: nobody sees a
// 503 then, only an answer that takes its time.
const coreIsSoonThere = 5 * time.Second

// feedDiscovery enters the groups of the other tiers into the head's discovery
// documents, and says when they hold what the tiers told first.
func feedDiscovery(server *apiserver.APIAggregator, core, extensions *delegate.Delegate, described *atomic.Bool) error {
	ofCore, ofExtensions := sources(server.GenericAPIServer.AggregatedDiscoveryGroupManager)
	informer := server.APIRegistrationInformers.Apiregistration().V1().APIServices()
	synced, lister := informer.Informer().HasSynced, informer.Lister()
	return server.GenericAPIServer.AddPostStartHook("triptych-discovery", func(ctx genericapiserver.PostStartHookContext) error {
		builtins, customs := delegate.NewFeed(core, ofCore), delegate.NewFeed(extensions, ofExtensions)
		go builtins.Run(ctx)
		go core.FollowOpenAPI(ctx)
		go func() {
			if cache.WaitForCacheSync(ctx.Done(), synced) {
				// The feed last: it is what readiness waits for.
				recalled := remembered(lister)
				extensions.RecallOpenAPI(recalled)
				customs.Recall(recalled)
			}
			go extensions.FollowOpenAPI(ctx)
			customs.Run(ctx)
		}()
		// The head is not ready before: whoever deletes by discovery takes what it
		// lacks for gone.
		for _, feed := range []*delegate.Feed{builtins, customs} {
			select {
			case <-feed.Entered():
			case <-ctx.Done():
			}
		}
		described.Store(true)
		return nil
	})
}

// sources says where what core and extensions tell goes. A CRD in a built-in
// group version is a custom resource all the same: as a built-in one it would
// replace what core serves there, and take it along when it is deleted.
func sources(manager aggregated.ResourceManager) (core, extensions func(metav1.GroupVersion) delegate.Source) {
	builtins, customs := manager.WithSource(aggregated.BuiltinSource), manager.WithSource(aggregated.CRDSource)
	core = func(gv metav1.GroupVersion) delegate.Source {
		if p, known := builtIn[gv]; known {
			return delegate.Source{Manager: builtins, GroupPriority: int(p.group), VersionPriority: int(p.version)}
		}
		return delegate.Source{Manager: customs, GroupPriority: int(customResources.group), VersionPriority: int(customResources.version)}
	}
	extensions = func(gv metav1.GroupVersion) delegate.Source {
		if gv.Group == definitions {
			return core(gv)
		}
		return delegate.Source{Manager: customs, GroupPriority: int(customResources.group), VersionPriority: int(customResources.version)}
	}
	return core, extensions
}

// addChecks has the head's /readyz show the checks of every tier. Those that the
// head has itself are left out, as upstream leaves out a delegate's.
func addChecks(ctx context.Context, p *process.Process, server *genericapiserver.GenericAPIServer, core, extensions *delegate.Delegate) error {
	shown := map[string]bool{"informer-sync": true, "etcd-readiness": true, "shutdown": true}
	for _, check := range server.HealthzChecks() {
		shown[check.Name()] = true
	}
	for _, d := range []*delegate.Delegate{core, extensions} {
		checks := d.ReadyChecks(ctx, d == core, p.Patience(), shown)
		if err := server.AddReadyzChecks(checks...); err != nil {
			return err
		}
		for _, check := range checks {
			shown[check.Name()] = true
		}
	}
	return nil
}
