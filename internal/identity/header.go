package identity

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/authentication/user"

	"triptych.dev/triptych/internal/identity/identityv1"
)

// Header carries the Identity of a delegated request. One header, encoded, and
// not one a field as X-Remote-User and its kin: net/http trims values, so that
// the powerless group "system:masters " would arrive as system:masters, and
// lower-cases the keys of a user's extra.
const Header = "X-Triptych-Identity"

// Identity is who sent a delegated request, and from where.
type Identity struct {
	User user.Info
	// ClientAddress is the host:port the client's connection comes from.
	ClientAddress string
	// ReceivedAt is when the sender received the request; zero if it does not say.
	ReceivedAt time.Time
	// Judged tells that the sender audited, queued and authorized the request.
	Judged bool
	// AuditID is that of the request's audit events; empty if the sender made none.
	AuditID string
	// Span is the sender's span of the request; invalid if it traces nothing.
	Span trace.SpanContext
	// AuditAnnotations are what authentication had to say to the audit log.
	AuditAnnotations map[string]string
}

// Stamp replaces whatever identity h carries by id.
func Stamp(h http.Header, id Identity) error {
	var span propagation.MapCarrier
	if id.Span.IsValid() {
		span = carrier(id.Span)
	}
	b, err := proto.Marshal(&identityv1.Identity{
		User:          FromUser(id.User),
		ClientAddress: []byte(id.ClientAddress),
		ReceivedAt:    nanoseconds(id.ReceivedAt),
		Judged:        id.Judged,
		AuditId:       []byte(id.AuditID),

		AuditAnnotations: id.AuditAnnotations,

		TraceParent: span.Get(traceParent),
		TraceState:  span.Get(traceState),
	})
	if err != nil {
		return fmt.Errorf("cannot encode the identity: %w", err)
	}
	h[Header] = []string{base64.RawURLEncoding.EncodeToString(b)}
	return nil
}

// Parse reads the identity of a delegated request. A missing, repeated or
// damaged header, or a nameless user, is an error: nobody is served as a guess.
func Parse(h http.Header) (Identity, error) {
	values := h[Header]
	if len(values) != 1 {
		return Identity{}, fmt.Errorf("want one %s header, got %d", Header, len(values))
	}
	b, err := base64.RawURLEncoding.DecodeString(values[0])
	if err != nil {
		return Identity{}, fmt.Errorf("cannot decode the identity: %w", err)
	}
	m := &identityv1.Identity{}
	if err := proto.Unmarshal(b, m); err != nil {
		return Identity{}, fmt.Errorf("cannot decode the identity: %w", err)
	}
	if len(m.GetUser().GetName()) == 0 {
		return Identity{}, fmt.Errorf("the identity names no user")
	}
	return Identity{
		User:          ToUser(m.GetUser()),
		ClientAddress: string(m.GetClientAddress()),
		ReceivedAt:    fromNanoseconds(m.GetReceivedAt()),
		Judged:        m.GetJudged(),
		AuditID:       string(m.GetAuditId()),
		Span:          spanOf(m),

		AuditAnnotations: m.GetAuditAnnotations(),
	}, nil
}

const traceParent, traceState = "traceparent", "tracestate"

// carrier holds span as W3C's headers do.
func carrier(span trace.SpanContext) propagation.MapCarrier {
	m := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), span), m)
	return m
}

func spanOf(m *identityv1.Identity) trace.SpanContext {
	if m.GetTraceParent() == "" {
		return trace.SpanContext{}
	}
	from := propagation.MapCarrier{traceParent: m.GetTraceParent(), traceState: m.GetTraceState()}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), from))
}

// nanoseconds are 0 for the zero time, whose own are undefined.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanoseconds(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// Strip removes what only a tier may say. The head calls it on every request
// of a client before anything else looks at the headers.
func Strip(h http.Header) { delete(h, Header) }

// FromUser encodes u; every byte survives.
func FromUser(u user.Info) *identityv1.User {
	m := &identityv1.User{Name: []byte(u.GetName()), Uid: []byte(u.GetUID()), Groups: toBytes(u.GetGroups())}
	for key, values := range u.GetExtra() {
		m.Extra = append(m.Extra, &identityv1.Extra{Key: []byte(key), Values: toBytes(values)})
	}
	return m
}

// ToUser decodes what FromUser encoded.
func ToUser(m *identityv1.User) *user.DefaultInfo {
	u := &user.DefaultInfo{Name: string(m.GetName()), UID: string(m.GetUid()), Groups: toStrings(m.GetGroups())}
	if len(m.GetExtra()) > 0 {
		u.Extra = make(map[string][]string, len(m.GetExtra()))
	}
	for _, e := range m.GetExtra() {
		u.Extra[string(e.GetKey())] = toStrings(e.GetValues())
	}
	return u
}

func toBytes(in []string) [][]byte {
	out := make([][]byte, len(in))
	for i, s := range in {
		out[i] = []byte(s)
	}
	return out
}

func toStrings(in [][]byte) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, len(in))
	for i, b := range in {
		out[i] = string(b)
	}
	return out
}
