package core

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	kubeoptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/router"
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

func run(ctx context.Context, p *process.Process, common *serving.Options, completed kubeoptions.CompletedOptions) error {
	extensions, err := delegate.New(context.WithoutCancel(ctx), p, tier.Extensions, common.ServerRun.RequestTimeout)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	config, err := newConfig(ctx, p, common, completed)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	routes := newRoutes(extensions)
	config.ControlPlane.Generic.BuildHandlerChainFunc = routes.chain
	p.Handshake.RegisterAuthenticator(newTokens(config.ControlPlane.Generic.Authentication))
	p.Listen()
	p.Reach(tier.Configured)

	notFound := notfoundhandler.New(config.ControlPlane.Generic.Serializer, genericfilters.NoMuxAndDiscoveryIncompleteKey)
	server, err := config.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return fmt.Errorf("cannot construct core: %w", err)
	}
	generic := server.ControlPlane.GenericAPIServer
	if err := extensions.Await(ctx, tier.Constructed, p.Patience()); err != nil {
		return err
	}
	p.Reach(tier.Constructed)

	prepared := generic.PrepareRun()
	routes.set(generic)
	if err := extensions.Await(ctx, tier.Prepared, p.Patience()); err != nil {
		return err
	}
	return serving.Serve(ctx, p, generic, peers, prepared.RunWithContext)
}

// routes tells core's own group versions from all others, which are extensions'.
type routes struct {
	extensions *delegate.Delegate
	routers    []*router.Router
}

func newRoutes(extensions *delegate.Delegate) *routes { return &routes{extensions: extensions} }

// chain implements genericapiserver.Config.BuildHandlerChainFunc.
func (r *routes) chain(apiHandler http.Handler, c *genericapiserver.Config) http.Handler {
	asked := r.router(serving.InnerChain(apiHandler, c), serving.WithDelegation(r.extensions, c, serving.InnerAuthenticator))
	judged := r.router(apiHandler, r.extensions.Judged())
	return serving.WithIdentity(serving.WithJudged(asked, judged, c))
}

func (r *routes) router(own, extensions http.Handler) *router.Router {
	router := router.New(&router.Table{Self: tier.Core}, map[tier.Name]http.Handler{tier.Core: own, tier.Extensions: extensions})
	r.routers = append(r.routers, router)
	return router
}

// set fixes the table once all of core's APIs are installed, before anything is
// served.
func (r *routes) set(server *genericapiserver.GenericAPIServer) {
	table := &router.Table{
		Self: tier.Core, Legacy: tier.Core, OtherPaths: tier.Core, OtherGroups: tier.Extensions,
		GroupVersions: map[string]tier.Name{}, Groups: map[string]tier.Name{},
	}
	for _, path := range server.ListedPaths() {
		rest, ok := strings.CutPrefix(path, "/apis/")
		if !ok {
			continue
		}
		group, _, versioned := strings.Cut(rest, "/")
		table.Groups[group] = tier.Core
		if versioned {
			table.GroupVersions[rest] = tier.Core
		}
	}
	for _, router := range r.routers {
		router.Set(table)
	}
}
