package serving

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/util/uuid"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
)

// callerKey is the context key of the caller of a request that came in over an
// inner listener.
type callerKey struct{}

// caller is who is behind such a request.
type caller struct {
	identity.Identity
	// auditIDs are what the client itself said of an audit ID.
	auditIDs []string
}

// CallerFrom returns who is behind a request that came in over an inner
// listener; ok is false for any other, and for a delegated request that names
// nobody.
func CallerFrom(ctx context.Context) (id identity.Identity, ok bool) {
	c, ok := ctx.Value(callerKey{}).(caller)
	return c.Identity, ok
}

// WithIdentity is the outermost filter of every tier. What a delegation
// certificate says of the caller is believed; a self certificate is a fixed
// user, whatever it says; everybody else has the header taken away. From here
// on the request looks as if the client had connected to this very process.
func WithIdentity(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isWatch(r) {
			ReserveStack()
		}
		peer, inner := hop.PeerFrom(r.Context())
		if !inner {
			identity.Strip(r.Header)
			handler.ServeHTTP(w, r)
			return
		}
		id, err := callerOf(peer, r)
		identity.Strip(r.Header)
		if err != nil {
			klog.ErrorS(err, "Refusing a delegated request", "peer", peer, "path", r.URL.Path)
			handler.ServeHTTP(w, r) // the authenticator finds no caller: 401, audited
			return
		}
		c := caller{Identity: id, auditIDs: r.Header[headerAuditID]}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
		r.RemoteAddr = id.ClientAddress
		if id.AuditID != "" && !id.Judged {
			r.Header[headerAuditID] = []string{id.AuditID}
		}
		handler.ServeHTTP(w, r)
	})
}

func callerOf(peer identity.Peer, r *http.Request) (identity.Identity, error) {
	if peer.Role == identity.Delegation {
		id, err := identity.Parse(r.Header)
		if err == nil {
			hop.Arrived(peer, id.ReceivedAt)
		}
		return id, err
	}
	return identity.Identity{User: selfUser, ClientAddress: r.RemoteAddr}, nil
}

// selfUser is whom the tiers' own calls are made as: the user of upstream's
// loopback client, so that logs, audit and fairness say what they always said.
var selfUser = &user.DefaultInfo{
	Name:   user.APIServerUser,
	UID:    string(uuid.NewUUID()),
	Groups: []string{user.AllAuthenticated, user.SystemPrivilegedGroup},
}

// OfTier tells whether a request is a call that a tier makes as itself.
func OfTier(ctx context.Context) bool {
	id, ok := CallerFrom(ctx)
	return ok && id.User == selfUser
}

// headerAuditID is where upstream's chain looks for the ID of a request.
var headerAuditID = http.CanonicalHeaderKey(auditinternal.HeaderAuditID)

// InnerAuthenticator authenticates what came in over an inner listener by what
// WithIdentity found, and nothing else. By now upstream's chain has taken the
// audit ID; what comes later, a proxy among it, sees the client's own headers.
var InnerAuthenticator authenticator.RequestFunc = func(r *http.Request) (*authenticator.Response, bool, error) {
	ReserveStackAgain(r.Context())
	c, ok := r.Context().Value(callerKey{}).(caller)
	if !ok {
		return nil, false, nil
	}
	if c.AuditID != "" {
		delete(r.Header, headerAuditID)
		if c.auditIDs != nil {
			r.Header[headerAuditID] = c.auditIDs
		}
	}
	audit.AddAuditAnnotationsMap(r.Context(), c.AuditAnnotations)
	return &authenticator.Response{User: c.User}, true, nil
}
