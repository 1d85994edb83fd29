package serving

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/filterlatency"
	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
)

// WithDelegation is the handler chain of a request that another tier serves.
// It holds those filters of upstream's chain that concern the client's
// connection and this process' own life; what judges the request (impersonation,
// audit, fairness, authorization, deadline) runs where it is served. The table
// in ARCHITECTURE.md says where each filter runs.
//
// authn says who asks. forward gets the request with the identity stamped on.
func WithDelegation(forward http.Handler, c *genericapiserver.Config, authn authenticator.Request) http.Handler {
	failed := genericfilters.Unauthorized(c.Serializer)
	failed = genericfilters.WithFailedAuthenticationAudit(failed, c.AuditBackend, c.AuditPolicyRuleEvaluator)
	failed = filterlatency.TrackCompleted(failed) // what goes on is measured where it is served

	handler := stamp(forward)
	if traced(c.TracerProvider) {
		handler = genericfilters.WithTracing(handler, c.TracerProvider)
	}
	handler = genericfilters.WithAuthentication(handler, authn, failed, c.Authentication.APIAudiences, c.Authentication.RequestHeaderConfig)
	handler = filterlatency.TrackStarted(handler, c.TracerProvider, "authentication")
	handler = filters.WithCORS(handler, c.CorsAllowedOriginList, nil, nil, nil, "true")
	handler = genericfilters.WithWarningRecorder(handler)
	handler = withShutdown(handler, c)
	if c.GoawayChance > 0 {
		handler = filters.WithProbabilisticGoaway(handler, c.GoawayChance)
	}
	handler = genericfilters.WithCacheControl(handler)
	handler = filters.WithHSTS(handler, c.HSTSDirectives)
	if c.ShutdownSendRetryAfter {
		handler = filters.WithRetryAfter(handler, afterDelay(c))
	}
	handler = filters.WithHTTPLogging(handler)
	handler = genericfilters.WithRequestInfo(handler, c.RequestInfoResolver)
	handler = genericfilters.WithRequestReceivedTimestamp(handler)
	handler = filters.WithPanicRecovery(handler, c.RequestInfoResolver)
	return genericfilters.WithAuditInit(handler)
}

// withShutdown has the process wait for the request when it stops, and a watch
// end when the process does.
func withShutdown(handler http.Handler, c *genericapiserver.Config) http.Handler {
	handler = EndingWatches(handler)
	handler = filters.WithWaitGroup(handler, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	if c.ShutdownWatchTerminationGracePeriod > 0 {
		handler = filters.WithWatchTerminationDuringShutdown(handler, afterDelay(c), c.WatchRequestWaitGroup)
	}
	return handler
}

// EndingWatches ends a watch that the process passes on when the process stops, with the
// cause hop.ErrEnd. Upstream ends those that it serves, and waits for the others until
// --request-timeout. It belongs inside of WithWatchTerminationDuringShutdown.
func EndingWatches(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signal := request.ServerShutdownSignalFrom(r.Context())
		if signal == nil {
			handler.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-signal.ShuttingDown():
				cancel(hop.ErrEnd)
			case <-done:
			}
		}()
		defer func() {
			// httputil.ReverseProxy breaks the stream when its context ends: a client would
			// take the end that it is to have for a failure.
			if cause := recover(); cause != nil && (cause != http.ErrAbortHandler || !errors.Is(context.Cause(ctx), hop.ErrEnd)) {
				panic(cause)
			}
		}()
		handler.ServeHTTP(w, r.WithContext(ctx))
	})
}

// shutdown implements request.ServerShutdownSignal.
type shutdown chan struct{}

func (s shutdown) ShuttingDown() <-chan struct{} { return s }

// afterDelay signals when the process stops taking requests, which is
// --shutdown-delay-duration after it was told to stop.
func afterDelay(c *genericapiserver.Config) shutdown {
	s := make(shutdown)
	go func() {
		<-c.ShutdownInitiatedNotify()
		time.Sleep(c.ShutdownDelayDuration)
		close(s)
	}()
	return s
}

// stamp writes who asks, from where, and under which audit ID onto the request.
func stamp(forward http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := Asking(r)
		if err == nil {
			err = identity.Stamp(r.Header, id)
		}
		if err != nil {
			responsewriters.InternalError(w, r, err)
			return
		}
		forward.ServeHTTP(w, r)
	})
}

// Asking returns the identity of an authenticated request. The audit ID is the
// one that the client was told, so that events of all tiers meet under it.
func Asking(r *http.Request) (identity.Identity, error) {
	ctx := r.Context()
	u, ok := request.UserFrom(ctx)
	if !ok {
		return identity.Identity{}, errors.New("no user in the context of an authenticated request")
	}
	received, _ := request.ReceivedTimestampFrom(ctx)
	id := identity.Identity{User: u, ClientAddress: r.RemoteAddr, ReceivedAt: received}
	if ac := audit.AuditContextFrom(ctx); ac != nil {
		id.AuditAnnotations = ac.GetEventAnnotations()
	}
	// A span of somebody else is the client's own affair.
	if span := trace.SpanContextFromContext(ctx); span.IsValid() && !span.IsRemote() {
		id.Span = span
	}
	if told, ok := audit.AuditIDFrom(ctx); ok {
		id.AuditID = string(told)
	}
	return id, nil
}
