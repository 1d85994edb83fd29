package serving

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/component-base/tracing"

	"triptych.dev/triptych/internal/identity"
)

// recorded is a provider that keeps every span.
func recorded() (*sdktrace.TracerProvider, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	return sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), spans
}

// Upstream's filter begins a new trace for who is not privileged. Over the hop it
// must not: the head did, and linked it to the client's.
func TestATraceGoesOnOverTheHopWhoeverAsks(t *testing.T) {
	head := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	for who, u := range map[string]*user.DefaultInfo{"privileged": {Name: "root", Groups: []string{user.SystemPrivilegedGroup}}, "not": {Name: "jane"}} {
		provider, spans := recorded()
		r := httptest.NewRequest(http.MethodGet, "/version", nil)
		r.Header.Set("Traceparent", "00-0000000000000000000000000000000f-000000000000000f-01") // the client's
		ctx := context.WithValue(request.WithUser(r.Context(), u), callerKey{}, caller{Identity: identity.Identity{User: u, Span: head}})
		genericfilters.WithTracing(http.NotFoundHandler(), continued(provider)).ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
		ended := spans.Ended()
		if len(ended) != 1 || ended[0].Parent().SpanID() != head.SpanID() || ended[0].SpanContext().TraceID() != head.TraceID() || len(ended[0].Links()) != 0 {
			t.Errorf("%s: %v", who, ended)
		}
		if r.Header.Get("Traceparent") != "00-0000000000000000000000000000000f-000000000000000f-01" {
			t.Errorf("%s: the client's header is now %v", who, r.Header)
		}
	}
}

// The head's span goes along, and the client's header stays as it is. Nothing of
// that happens where nobody traces.
func TestTheSpanOfADelegatedRequestGoesAlong(t *testing.T) {
	jane := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "jane"}}, true, nil
	})
	provider, spans := recorded()
	for name, p := range map[string]tracing.TracerProvider{"traced": provider, "not traced": tracing.NewNoopTracerProvider()} {
		c := newConfigOf(t)
		c.TracerProvider = p
		server := httptest.NewServer(WithDelegation(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := identity.Parse(r.Header)
			if err != nil || id.Span.IsValid() != (name == "traced") || r.Header.Get("Traceparent") == "" {
				t.Errorf("%s: %v %v %v", name, id.Span, err, r.Header)
			}
			// What the forwarder asks of a writer works behind the filter.
			control := http.NewResponseController(w)
			if err := control.EnableFullDuplex(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			conn, _, err := control.Hijack()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}), c, jane))
		req, _ := http.NewRequest(http.MethodGet, server.URL+"/version", nil)
		req.Header.Set("Traceparent", "00-0000000000000000000000000000000f-000000000000000f-01")
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Errorf("%s: %v %v", name, resp, err)
		}
		server.Close()
	}
	if len(spans.Started()) == 0 {
		t.Error("no span is recorded")
	}
}
