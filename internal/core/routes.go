package core

import (
	"context"
	"maps"
	"net/http"
	"strings"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/dialer"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/router"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// routes tells core's own group versions from all others, which are extensions'.
type routes struct {
	extensions *delegate.Delegate
	// ready tells whether core was ready once: it then knows what it needs to
	// judge users, be it their roles or the pods of a node.
	ready   func() bool
	nodes   *dialer.Nodes
	self    *serving.SelfRights
	routers []*router.Router
}

func newRoutes(extensions *delegate.Delegate, nodes *dialer.Nodes, self *serving.SelfRights, ready func() bool) *routes {
	return &routes{extensions: extensions, nodes: nodes, self: self, ready: ready}
}

// chain implements genericapiserver.Config.BuildHandlerChainFunc.
func (r *routes) chain(apiHandler http.Handler, c *genericapiserver.Config) http.Handler {
	apiHandler = r.nodes.Guarded(apiHandler, serving.Unavailable)
	own := serving.WithKnown(serving.InnerChain(apiHandler, c), r.ready)
	asked := r.router(own, serving.WithDelegation(r.extensions, serving.WithoutClients(c), serving.InnerAuthenticator))
	judged := r.router(apiHandler, r.extensions.Judged())
	return r.nodes.Connecting(serving.WithIdentity(r.self.Guard(serving.WithJudged(asked, judged, r.ready, c))))
}

func (r *routes) router(own, extensions http.Handler) *router.Router {
	router := router.New(&router.Table{Self: tier.Core}, map[tier.Name]http.Handler{tier.Core: own, tier.Extensions: extensions})
	r.routers = append(r.routers, router)
	return router
}

// follow makes the first table and keeps it up to date until ctx ends. listed
// are the paths of core once all of its APIs are installed. Nothing is served
// before it was called.
func (r *routes) follow(ctx context.Context, listed []string) {
	changed := r.update(listed)
	go func() {
		for {
			select {
			case <-changed:
				changed = r.update(listed)
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (r *routes) update(listed []string) (changed <-chan struct{}) {
	state, changed := r.extensions.Client.State()
	table := table(listed, state)
	for _, router := range r.routers {
		router.Set(table)
	}
	return changed
}

// table makes core the owner of the group versions it lists. In its own groups
// it also answers for versions that nobody serves, as in one process; but only
// extensions can say that nobody does.
func table(listed []string, extensions handshake.State) *router.Table {
	t := &router.Table{
		Self: tier.Core, Legacy: tier.Core, OtherPaths: tier.Core, OtherGroups: tier.Extensions,
		GroupVersions: map[string]tier.Name{}, Groups: map[string]tier.Name{}, OtherVersions: map[string]tier.Name{},
	}
	for _, gv := range extensions.Routes.GetGroupVersions() {
		t.GroupVersions[gv.GetGroup()+"/"+gv.GetVersion()] = tier.Extensions
	}
	maps.Copy(t.GroupVersions, ownGroupVersions(listed))
	for gv := range ownGroupVersions(listed) {
		group, _, _ := strings.Cut(gv, "/")
		t.Groups[group] = tier.Core
		if extensions.Routes.GetComplete() {
			t.OtherVersions[group] = tier.Core
		}
	}
	return t
}

// ownGroupVersions finds the group versions among the paths of core.
func ownGroupVersions(listed []string) map[string]tier.Name {
	own := map[string]tier.Name{}
	for _, path := range listed {
		if rest, ok := strings.CutPrefix(path, "/apis/"); ok && strings.Count(rest, "/") == 1 {
			own[rest] = tier.Core
		}
	}
	return own
}
