package serving

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/rights"
)

// WithRights answers 503 while what the tier knows of roles and bindings is too
// old to judge by: a right that it allows may have been revoked, and one that it
// denies may have been granted. Whom other authorizers let in, system:masters
// first of all, passes, and so do the tiers' own calls and whoever asks how the
// process does. authn says who asks.
func WithRights(handler http.Handler, feed *rights.Feed, authn authenticator.Request, c *genericapiserver.Config) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := feed.Err(); err != nil && !OfTier(r.Context()) && !aboutHealth(r) && !allowedOtherwise(r, authn, c) {
			Unavailable(w, r, "the rights of users are not known: "+err.Error())
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// aboutHealth tells of requests that are judged by what was known last: core's
// absence must not have a process restarted that works.
func aboutHealth(r *http.Request) bool {
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return slices.Contains([]string{"healthz", "livez", "readyz"}, kind)
}

// ofRBAC is how the reason of a decision begins that roles and bindings made.
const ofRBAC = "RBAC:"

// allowedOtherwise tells whether the request is allowed whatever bindings there
// are, or is nobody's, which the handler says. Whoever wants to be another needs to
// be judged as that other too: no.
func allowedOtherwise(r *http.Request, authn authenticator.Request, c *genericapiserver.Config) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			return false
		}
	}
	answer, ok, err := authn.AuthenticateRequest(r.Clone(r.Context())) // which may take headers away
	if err != nil || !ok {
		return true
	}
	info, err := c.RequestInfoResolver.NewRequestInfo(r)
	if err != nil {
		return true
	}
	ctx := request.WithUser(request.WithRequestInfo(r.Context(), info), answer.User)
	attributes, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return true
	}
	decision, reason, _ := c.Authorization.Authorizer.Authorize(ctx, attributes)
	return decision == authorizer.DecisionAllow && !strings.HasPrefix(reason, ofRBAC)
}
