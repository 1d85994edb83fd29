package aggregator

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apiserver"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"

	"triptych.dev/triptych/internal/authentication"
	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/exposition"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/router"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// own are the paths outside /apis that the head serves for the API as a whole.
var own = []string{
	"", "/index.html", "/healthz", "/livez", "/readyz", "/metrics", "/version",
	"/openapi", "/debug", "/statusz", "/flagz",
}

// routes knows which tier serves a request, from what core and extensions
// announce and from the APIServices there are.
type routes struct {
	core, extensions *delegate.Delegate
	router           *router.Router
	services         listers.APIServiceLister
	servicesSynced   cache.InformerSynced
	servicesChanged  chan struct{}
	wasReady         func() bool
	// described is whether the discovery documents hold what the other tiers told
	// first.
	described atomic.Bool
}

func newRoutes(core, extensions *delegate.Delegate, wasReady func() bool) *routes {
	return &routes{core: core, extensions: extensions, servicesChanged: make(chan struct{}, 1), wasReady: wasReady}
}

// chain returns a genericapiserver.Config.BuildHandlerChainFunc.
func (r *routes) chain(public *serving.Public, clients authenticator.Request, synced func() bool, feed *rights.Feed, self *serving.SelfRights) func(http.Handler, *genericapiserver.Config) http.Handler {
	return func(apiHandler http.Handler, c *genericapiserver.Config) http.Handler {
		here := *c
		here.Authentication.Authenticator = authentication.VerdictAuthenticator
		// Watches of API servers behind the head are passed on.
		apiHandler = serving.EndingWatches(apiHandler)
		apiHandler = exposition.New(tier.Aggregator, delegate.OpenAPI(apiHandler, r.servedHere, r.core, r.extensions),
			exposition.Tier{Name: tier.Core, Judged: r.core.Judged(), Each: r.core.EachJudged},
			exposition.Tier{Name: tier.Extensions, Judged: r.extensions.Judged(), Each: r.extensions.EachJudged})
		own := serving.WithRights(genericapiserver.DefaultBuildHandlerChain(apiHandler, &here), feed, authentication.VerdictAuthenticator, &here)
		r.router = router.New(r.table(), map[tier.Name]http.Handler{
			tier.Aggregator: r.withWholeAPI(serving.WithKnown(own, synced)),
			unknown:         http.HandlerFunc(notYet),
			tier.Core:       serving.WithDelegation(r.core, &here, authentication.VerdictAuthenticator),
			tier.Extensions: serving.WithDelegation(r.extensions, &here, authentication.VerdictAuthenticator),
		})
		return public.Tell(serving.WithIdentity(self.Guard(authentication.WithVerdict(r.router, clients))))
	}
}

// follow keeps the table up to date from now on.
func (r *routes) follow(server *apiserver.APIAggregator) error {
	informer := server.APIRegistrationInformers.Apiregistration().V1().APIServices()
	r.services, r.servicesSynced = informer.Lister(), informer.Informer().HasSynced
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { r.notify() }, DeleteFunc: func(any) { r.notify() }, UpdateFunc: func(_, _ any) { r.notify() },
	})
	if err != nil {
		return err
	}
	return server.GenericAPIServer.AddPostStartHook("triptych-routes", func(ctx genericapiserver.PostStartHookContext) error {
		go r.run(ctx)
		return nil
	})
}

func (r *routes) notify() {
	select {
	case r.servicesChanged <- struct{}{}:
	default: // a table that is due will see this change too
	}
}

func (r *routes) run(ctx context.Context) {
	// Without APIServices nothing ever notifies.
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), r.servicesSynced) {
			r.notify()
		}
	}()
	for ctx.Err() == nil {
		_, coreChanged := r.core.Client.State()
		_, extensionsChanged := r.extensions.Client.State()
		r.router.Set(r.table())
		select {
		case <-coreChanged:
		case <-extensionsChanged:
		case <-r.servicesChanged:
		case <-ctx.Done():
		}
	}
}

// unknown stands for the tier that serves a group, while the head has not read
// which APIServices there are: none that it could name would do.
const unknown = tier.Name("")

func notYet(w http.ResponseWriter, r *http.Request) {
	serving.Unavailable(w, r, "the head is starting and does not know every API yet")
}

// withWholeAPI answers 503 for everything about APIs until the head is ready for
// the first time. Before, discovery documents lack groups that exist, and whoever
// deletes by them (the garbage collector, the namespace controller) takes that
// for the truth. The tiers' own calls pass, discovery as soon as there is something
// in it: what they admit depends on it, and the head's readiness on what they admit.
func (r *routes) withWholeAPI(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		path := strings.Trim(req.URL.Path, "/")
		kind, _, _ := strings.Cut(path, "/")
		discovery := kind == "apis" && strings.Count(path, "/") < 2
		passes := serving.OfTier(req.Context()) && (!discovery || r.described.Load())
		if (kind == "apis" || kind == "openapi") && !r.wasReady() && !passes {
			notYet(w, req)
			return
		}
		handler.ServeHTTP(w, req)
	})
}

// table enters what wins last: extensions, then core, whose built-in group
// versions nobody who may create a CRD can take, then APIServices, whose writers
// may redirect any group, as in kube-apiserver.
func (r *routes) table() *router.Table {
	t := &router.Table{
		Self: tier.Aggregator, Own: own,
		Legacy: tier.Core, OtherGroups: tier.Core, OtherPaths: tier.Core,
		GroupVersions: map[string]tier.Name{}, Groups: map[string]tier.Name{},
		OtherVersions: map[string]tier.Name{v1.GroupName: tier.Aggregator},
	}
	if r.servicesSynced == nil || !r.servicesSynced() {
		t.OtherGroups = unknown
	}
	enter := func(d *delegate.Delegate) {
		state, _ := d.Client.State()
		for _, gv := range state.Routes.GetGroupVersions() {
			t.GroupVersions[key(gv)] = d.Tier
		}
	}
	enter(r.extensions)
	enter(r.core)
	t.GroupVersions[v1.GroupName+"/v1"] = tier.Aggregator
	t.Groups[v1.GroupName] = tier.Aggregator
	for _, s := range r.all() {
		t.Groups[s.Spec.Group] = tier.Aggregator
		if s.Spec.Service != nil {
			t.GroupVersions[s.Spec.Group+"/"+s.Spec.Version] = tier.Aggregator
		}
	}
	return t
}

func (r *routes) all() []*v1.APIService {
	if r.services == nil {
		return nil
	}
	all, err := r.services.List(labels.Everything())
	if err != nil {
		return nil // a lister over memory does not fail
	}
	return all
}

// servedHere tells of "apis/GROUP/VERSION" whether the head serves it, or an API
// server behind it, whatever other tiers say of the same group version.
func (r *routes) servedHere(path string) bool {
	return strings.Count(path, "/") == 2 && r.router.Owner("/"+path) == tier.Aggregator
}

func key(gv *handshakev1.GroupVersion) string { return gv.GetGroup() + "/" + gv.GetVersion() }
