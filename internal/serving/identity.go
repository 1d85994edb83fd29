package serving

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
)

// callerKey is the context key of the identity of a request that came in over
// an inner listener.
type callerKey struct{}

// CallerFrom returns who is behind a request that came in over an inner
// listener; ok is false for any other, and for a delegated request that names
// nobody.
func CallerFrom(ctx context.Context) (id identity.Identity, ok bool) {
	id, ok = ctx.Value(callerKey{}).(identity.Identity)
	return id, ok
}

// WithIdentity is the outermost filter of every tier. What a delegation
// certificate says of the caller is believed; a self certificate is a fixed
// user, whatever it says; everybody else has the header taken away. From here
// on the request looks as if the client had connected to this very process.
func WithIdentity(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, id))
		r.RemoteAddr = id.ClientAddress
		handler.ServeHTTP(w, r)
	})
}

func callerOf(peer identity.Peer, r *http.Request) (identity.Identity, error) {
	if peer.Role == identity.Delegation {
		return identity.Parse(r.Header)
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

// InnerAuthenticator authenticates what came in over an inner listener by what
// WithIdentity found, and nothing else.
var InnerAuthenticator authenticator.RequestFunc = func(r *http.Request) (*authenticator.Response, bool, error) {
	id, ok := CallerFrom(r.Context())
	if !ok {
		return nil, false, nil
	}
	audit.AddAuditAnnotationsMap(r.Context(), id.AuditAnnotations)
	return &authenticator.Response{User: id.User}, true, nil
}
