package harness

import (
	"context"
	"encoding/hex"
	"net"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
)

// Span is one span as a collector got it.
type Span struct {
	Trace, ID, Parent, Name string
	// Links are the spans it points at, "trace/id".
	Links []string
	// Attributes are its own, Resource those of the process.
	Attributes, Resource map[string]string
}

// Collector takes traces over OTLP.
type Collector struct {
	collector.UnimplementedTraceServiceServer
	// Address is its host:port.
	Address string

	mu    sync.Mutex
	spans []Span
}

// StartCollector starts a collector for the test.
func StartCollector(t testing.TB) *Collector {
	t.Helper()
	l := Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	c := &Collector{Address: l.Addr().String()}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return c
}

// Export implements the collector's service.
func (c *Collector) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.GetResourceSpans() {
		of := attributes(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				span := Span{
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Name: s.GetName(), Attributes: attributes(s.GetAttributes()), Resource: of,
				}
				for _, link := range s.GetLinks() {
					span.Links = append(span.Links, hex.EncodeToString(link.GetTraceId())+"/"+hex.EncodeToString(link.GetSpanId()))
				}
				c.spans = append(c.spans, span)
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func attributes(all []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range all {
		out[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return out
}

// Spans returns the spans so far for which keep is true.
func (c *Collector) Spans(keep func(Span) bool) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kept []Span
	for _, s := range c.spans {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}
