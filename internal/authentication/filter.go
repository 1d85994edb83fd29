package authentication

import (
	"context"
	"errors"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/warning"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/serving"
)

// verdict is what authentication made of one request.
type verdict struct {
	response *authenticator.Response
	ok       bool
	err      error
	// annotations are for the audit log, warnings for the client: core's words
	// about a token, and the head's own about how it was shown.
	annotations map[string]string
	warnings    []string
}

// AddWarning implements warning.Recorder.
func (v *verdict) AddWarning(_, text string) { v.warnings = append(v.warnings, text) }

type verdictKey struct{}

// WithVerdict authenticates requests that came in over the public port, before
// any handler chain: upstream's chain knows 401 alone, and "nobody could be
// asked" must be a 503. The chains behind it read the verdict by
// VerdictAuthenticator.
func WithVerdict(handler http.Handler, authn authenticator.Request) http.Handler {
	registerDuration()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, inner := hop.PeerFrom(r.Context()); inner {
			handler.ServeHTTP(w, r)
			return
		}
		v := &verdict{}
		r = r.WithContext(context.WithValue(r.Context(), verdictKey{}, v))
		start := time.Now()
		// The response, which warnings end up in, is made further in.
		v.response, v.ok, v.err = authn.AuthenticateRequest(r.WithContext(warning.WithWarningRecorder(r.Context(), v)))
		v.measure(r.Context(), time.Since(start))
		if errors.Is(v.err, ErrUnavailable) {
			serving.Unavailable(w, r, "the tier that knows tokens is away")
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// note keeps what core said beside the answer for the chains, which have an
// audit event and a response to put it in.
func note(ctx context.Context, answer *handshakev1.AuthenticateResponse) {
	if v, ok := ctx.Value(verdictKey{}).(*verdict); ok {
		v.annotations = answer.GetAuditAnnotations()
		v.warnings = append(v.warnings, answer.GetWarnings()...)
	}
}

// VerdictAuthenticator returns the verdict that WithVerdict found, and for
// requests from an inner listener who is behind them.
var VerdictAuthenticator authenticator.RequestFunc = func(r *http.Request) (*authenticator.Response, bool, error) {
	if _, inner := hop.PeerFrom(r.Context()); inner {
		return serving.InnerAuthenticator(r)
	}
	serving.ReserveStackAgain(r.Context())
	v, ok := r.Context().Value(verdictKey{}).(*verdict)
	if !ok {
		return nil, false, nil
	}
	audit.AddAuditAnnotationsMap(r.Context(), v.annotations)
	for _, text := range v.warnings {
		warning.AddWarning(r.Context(), "", text)
	}
	return v.response, v.ok, v.err
}
