package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// knowing accepts every token.
type knowing struct {
	handshakev1.UnimplementedAuthenticatorServer
	asked []string
}

func (k *knowing) Authenticate(_ context.Context, r *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	k.asked = append(k.asked, r.GetToken())
	return &handshakev1.AuthenticateResponse{Authenticated: true}, nil
}

func TestOnlyTheHeadItselfMayAskAboutTokens(t *testing.T) {
	p := newPlace(t, tier.Core)
	authenticator := &knowing{}
	s := NewServer(serverTLS(t, p.paths, p.tier), &handshakev1.DescribeResponse{Incarnation: "first"})
	s.RegisterAuthenticator(authenticator)
	p.serve(s)
	for name, c := range map[string]struct {
		pair func(tier.Name) wiring.KeyPair
		as   tier.Name
		want codes.Code
	}{
		"aggregator/self":       {p.self, tier.Aggregator, codes.OK},
		"aggregator/delegation": {p.delegation, tier.Aggregator, codes.PermissionDenied},
		"core/self":             {p.self, tier.Core, codes.PermissionDenied},
		"core/delegation":       {p.delegation, tier.Core, codes.PermissionDenied},
		"extensions/self":       {p.self, tier.Extensions, codes.PermissionDenied},
		"supervisor/self":       {p.self, identity.Supervisor, codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			authenticator.asked = nil
			client := p.client(tier.Aggregator, func(cfg *tls.Config) {
				cfg.Certificates = tlsOf(t, p.paths.Internal(c.as).CA, c.pair(c.as), "").Certificates
			})
			defer client.conn.Close()
			_, err := handshakev1.NewAuthenticatorClient(client.conn).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "secret"})
			if status.Code(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if asked := len(authenticator.asked) > 0; asked != (c.want == codes.OK) {
				t.Errorf("the authenticator was asked: %v", asked)
			}
		})
	}
}

func (p *place) self(name tier.Name) wiring.KeyPair       { return p.paths.Internal(name).Self }
func (p *place) delegation(name tier.Name) wiring.KeyPair { return p.paths.Internal(name).Delegation }

func TestACallerWithoutAVerifiedCertificateIsNobody(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"no peer":        context.Background(),
		"no TLS":         peer.NewContext(context.Background(), &peer.Peer{}),
		"not verified":   peer.NewContext(context.Background(), &peer.Peer{AuthInfo: credentials.TLSInfo{}}),
		"another scheme": peer.NewContext(context.Background(), &peer.Peer{AuthInfo: authInfo{}}),
	} {
		if who, err := callerOf(ctx); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: got %v, %v", name, who, err)
		}
		_, err := onlyForTheHead{&knowing{}}.Authenticate(ctx, &handshakev1.AuthenticateRequest{})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

type authInfo struct{}

func (authInfo) AuthType() string { return "handmade" }

func TestWhoIsNotCoreDoesNotKnowTokens(t *testing.T) {
	p := newPlace(t, tier.Extensions)
	p.live("first")
	c := p.client(tier.Aggregator)
	defer c.conn.Close()
	if _, err := handshakev1.NewAuthenticatorClient(c.conn).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsToldBeforeItIsKnown(t *testing.T) {
	p := newPlace(t, tier.Core)
	s := p.live("first")
	c := p.client(tier.Aggregator)
	defer c.conn.Close()
	if _, err := c.Discovery(t.Context()); status.Code(err) != codes.Unavailable {
		t.Errorf("discovery: got %v", err)
	}
	if _, err := c.Checks(t.Context()); status.Code(err) != codes.Unavailable {
		t.Errorf("checks: got %v", err)
	}
	s.SetDiscovery(func() ([]byte, error) { return nil, errors.New("out of paper") })
	if _, err := c.Discovery(t.Context()); status.Code(err) != codes.Internal {
		t.Errorf("failing discovery: got %v", err)
	}
	s.SetDiscovery(func() ([]byte, error) { return []byte("{}"), nil })
	s.SetChecks(func() []*handshakev1.Check { return []*handshakev1.Check{{Name: "ping", Ok: true}} })
	s.Publish(&handshakev1.RoutesResponse{})
	if d, err := c.Discovery(t.Context()); err != nil || string(d.GetGroups()) != "{}" || d.GetIncarnation() != "first" || d.GetGeneration() != 1 {
		t.Errorf("discovery: got %v, %v", d, err)
	}
	if r, err := c.Checks(t.Context()); err != nil || len(r.GetChecks()) != 1 || !r.GetChecks()[0].GetOk() {
		t.Errorf("checks: got %v, %v", r, err)
	}
}

// reader takes one announcement at a time, when it feels like it.
type reader struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan *handshakev1.RoutesResponse
}

func (r reader) Context() context.Context { return r.ctx }
func (r reader) Send(m *handshakev1.RoutesResponse) error {
	r.sent <- m
	return nil
}

func TestASlowReaderMissesGenerationsButNeverTheNewest(t *testing.T) {
	s := NewServer(&tls.Config{}, &handshakev1.DescribeResponse{Incarnation: "first"})
	defer s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	r := reader{ctx: ctx, sent: make(chan *handshakev1.RoutesResponse)}
	done := make(chan error)
	go func() { done <- s.Routes(nil, r) }()

	s.Publish(serving("one"))
	if got := <-r.sent; got.GetGeneration() != 1 || got.GetIncarnation() != "first" || got.GetGroupVersions()[0].GetGroup() != "one" {
		t.Errorf("got %v", got)
	}
	for range 9 {
		s.Publish(serving("between"))
	}
	s.Publish(serving("newest"))
	last := &handshakev1.RoutesResponse{}
	for last.GetGeneration() < 11 {
		got := <-r.sent
		if got.GetGeneration() <= last.GetGeneration() {
			t.Errorf("generation %d after %d", got.GetGeneration(), last.GetGeneration())
		}
		last = got
	}
	if last.GetGroupVersions()[0].GetGroup() != "newest" {
		t.Errorf("the newest is %v", last)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsAnnouncedBeforeTheFirstPublish(t *testing.T) {
	s := NewServer(&tls.Config{}, &handshakev1.DescribeResponse{Incarnation: "first"})
	defer s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := reader{ctx: ctx, sent: make(chan *handshakev1.RoutesResponse, 1)}
	if err := s.Routes(nil, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(r.sent) != 0 {
		t.Errorf("announced %v: whoever reads it would take this process for one that serves nothing", <-r.sent)
	}
}

// A connection in the making would hold every request with a token up.
func TestAClientAsksNobodyAboutTokensWhileCoreIsAway(t *testing.T) {
	c, err := NewClient(tier.Core, "127.0.0.1:1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	if _, err := c.Authenticate(t.Context(), &handshakev1.AuthenticateRequest{}); err == nil || status.Code(err) != codes.Unknown {
		t.Errorf("got %v, want an answer of its own", err)
	}
}

// Paths on Linux are bytes, and nobody works with a process that cannot say who it is.
func TestAProcessDescribesItselfWhateverItsFlagsHold(t *testing.T) {
	p := newPlace(t, tier.Core)
	s := NewServer(serverTLS(t, p.paths, p.tier), &handshakev1.DescribeResponse{Incarnation: "first"})
	s.SetFlags(map[string]string{"audit-policy-file": "/etc/\xff/policy"})
	p.serve(s)
	client := p.client(tier.Aggregator)
	defer client.conn.Close()
	d, err := handshakev1.NewHandshakeClient(client.conn).Describe(t.Context(), &handshakev1.DescribeRequest{})
	if err != nil || d.GetFlags()["audit-policy-file"] != "/etc/\uFFFD/policy" {
		t.Errorf("got %v, %v", d.GetFlags(), err)
	}
}
