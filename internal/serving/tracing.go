package serving

import (
	"context"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/component-base/tracing"

	"triptych.dev/triptych/internal/process"
)

// applyTraces makes the provider of the process. The tiers are one service, and
// each process is an instance of its own.
func applyTraces(p *process.Process, o *genericoptions.TracingOptions, c *genericapiserver.Config) error {
	named := *c
	named.APIServerID = strings.TrimPrefix(c.APIServerID+"/"+p.Wiring.Replica, "/")
	if err := o.ApplyTo(c.EgressSelector, &named); err != nil {
		return err
	}
	c.TracerProvider = named.TracerProvider
	return nil
}

// traced tells whether spans are recorded at all.
func traced(provider tracing.TracerProvider) bool {
	switch provider.(type) {
	case *sdktrace.TracerProvider, continuing:
		return true
	}
	return false
}

// continued is a provider for requests that come over the hop. Upstream's filter
// takes what it does not get from a privileged user for public, and begins a trace
// of its own; the head has decided that already, and whether the trace is kept.
func continued(provider tracing.TracerProvider) tracing.TracerProvider {
	if !traced(provider) {
		return provider
	}
	return continuing{provider}
}

type continuing struct{ tracing.TracerProvider }

// Tracer implements trace.TracerProvider.
func (p continuing) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	return continuingTracer{p.TracerProvider.Tracer(name, options...)}
}

type continuingTracer struct{ trace.Tracer }

// Start implements trace.Tracer. The first span of a delegated request, and the
// one that stands for it, are children of the sender's.
func (t continuingTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	caller, delegated := CallerFrom(ctx)
	if !delegated || !caller.Span.IsValid() {
		return t.Tracer.Start(ctx, name, options...)
	}
	config := trace.NewSpanStartConfig(options...)
	if around := trace.SpanContextFromContext(ctx); config.SpanKind() != trace.SpanKindServer && around.IsValid() && !around.IsRemote() {
		return t.Tracer.Start(ctx, name, options...)
	}
	// All that was asked for but a trace of its own.
	options = []trace.SpanStartOption{trace.WithAttributes(config.Attributes()...), trace.WithSpanKind(config.SpanKind())}
	if at := config.Timestamp(); !at.IsZero() {
		options = append(options, trace.WithTimestamp(at))
	}
	return t.Tracer.Start(trace.ContextWithRemoteSpanContext(ctx, caller.Span), name, options...)
}
