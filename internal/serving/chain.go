package serving

import (
	"net/http"
	"strings"

	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
)

// InnerChain is the handler chain of what a tier serves itself when requests
// reach it over the hop: upstream's, but for who the caller is. What the head
// does for the client's sake (CORS, HSTS, GOAWAY) is not done again.
func InnerChain(apiHandler http.Handler, c *genericapiserver.Config) http.Handler {
	inner := WithoutClients(c)
	inner.Authentication.Authenticator = InnerAuthenticator
	return genericapiserver.DefaultBuildHandlerChain(apiHandler, inner)
}

// WithoutClients returns c without what the head does for the client's sake and
// nobody does again: who a client is, what browsers are told, when connections
// end.
func WithoutClients(c *genericapiserver.Config) *genericapiserver.Config {
	inner := *c
	inner.Authentication.APIAudiences = nil
	inner.Authentication.RequestHeaderConfig = nil
	inner.CorsAllowedOriginList, inner.HSTSDirectives = nil, nil
	inner.GoawayChance, inner.ShutdownSendRetryAfter = 0, false
	inner.TracerProvider = continued(c.TracerProvider)
	return &inner
}

// WithJudged sends what a delegating tier has judged already to judged, with the
// user in the context, and everything else to chain. Until known says that the
// tier knows every API, what it does not find may exist; OpenAPI documents are
// collected from starting tiers.
func WithJudged(chain, judged http.Handler, known func() bool, c *genericapiserver.Config) http.Handler {
	handler := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !known() && !strings.HasPrefix(r.URL.Path, "/openapi/") {
			Unavailable(w, r, "the tier is starting and does not know every API yet")
			return
		}
		id, _ := CallerFrom(r.Context())
		judged.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), id.User)))
	}))
	handler = filters.WithWaitGroup(handler, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	handler = genericfilters.WithRequestInfo(handler, c.RequestInfoResolver)
	handler = filters.WithPanicRecovery(handler, c.RequestInfoResolver)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, ok := CallerFrom(r.Context()); ok && id.Judged {
			handler.ServeHTTP(w, r)
			return
		}
		chain.ServeHTTP(w, r)
	})
}

// WithKnown answers 503 while known says that the process does not know yet what
// it needs to judge users: their rights, or the objects that rights depend on. A
// 403 would be a lie that controllers act on. The tiers' own calls pass, because
// what they ask for is how it becomes known.
func WithKnown(handler http.Handler, known func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if known() || OfTier(r.Context()) {
			handler.ServeHTTP(w, r)
			return
		}
		Unavailable(w, r, "the tier is starting and does not know the rights of users yet")
	})
}
