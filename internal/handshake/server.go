package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/refusal"
	"triptych.dev/triptych/internal/tier"
)

// burst is the service of package health that tells of bursts; no stage is called so.
const burst = "burst"

const (
	// greetingTimeout bounds how long a peer may take to show who it is.
	greetingTimeout = 30 * time.Second
	// maxStreams of one peer: a handful of watches, and as many questions about tokens as clients have at a time.
	maxStreams = 1000
)

// telling logs whom TLS turned away, which gRPC does not.
type telling struct {
	credentials.TransportCredentials
	refused *refusal.Log
}

// ServerHandshake implements credentials.TransportCredentials.
func (t telling) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := t.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		t.refused.Refused(conn.RemoteAddr().String(), err.Error())
	}
	return c, info, err
}

// Clone implements credentials.TransportCredentials.
func (t telling) Clone() credentials.TransportCredentials {
	return telling{t.TransportCredentials.Clone(), t.refused}
}

// Server is a process' end of the handshake. It may be told things from any
// goroutine and passes them on at once.
type Server struct {
	handshakev1.UnimplementedHandshakeServer

	grpc        *grpc.Server
	door        *door
	health      *health.Server
	description *handshakev1.DescribeResponse
	siblings    *siblings

	mu        sync.Mutex
	routes    *handshakev1.RoutesResponse
	groups    []byte        // the discovery document that belongs to routes
	changed   chan struct{} // closed and replaced whenever routes changes
	discovery func() ([]byte, error)
	checks    func() []*handshakev1.Check
}

// NewServer returns a server that describes the process by d and takes calls
// over TLS only. cfg must demand client certificates of the internal CA.
func NewServer(cfg *tls.Config, d *handshakev1.DescribeResponse) *Server {
	door := &door{TransportCredentials: credentials.NewTLS(cfg), guests: map[*guest]struct{}{}}
	s := &Server{
		door: door,
		grpc: grpc.NewServer(
			grpc.Creds(telling{door, refusal.New("handshake")}),
			grpc.ConnectionTimeout(greetingTimeout), grpc.MaxConcurrentStreams(maxStreams),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
			grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		),
		health:      health.NewServer(),
		description: d,
		siblings:    newSiblings(),
		routes:      &handshakev1.RoutesResponse{Incarnation: d.GetIncarnation()},
		changed:     make(chan struct{}),
	}
	for _, stage := range tier.Stages {
		s.health.SetServingStatus(string(stage), healthv1.HealthCheckResponse_NOT_SERVING)
	}
	healthv1.RegisterHealthServer(s.grpc, s.health)
	handshakev1.RegisterHandshakeServer(s.grpc, s)
	handshakev1.RegisterSiblingsServer(s.grpc, s.siblings)
	return s
}

// RegisterAuthenticator offers a to callers; core alone does. It must be called
// before Serve.
func (s *Server) RegisterAuthenticator(a handshakev1.AuthenticatorServer) {
	handshakev1.RegisterAuthenticatorServer(s.grpc, onlyForTheHead{AuthenticatorServer: a})
}

// Serve answers calls on l until Stop.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Verify closes the connections of peers that the bundle does not vouch for, after patience.
func (s *Server) Verify(bundle *x509.CertPool, patience time.Duration) {
	s.door.verify(bundle, patience)
}

// Stop ends all streams and calls at once.
func (s *Server) Stop() { s.grpc.Stop() }

// Reach reports that the process has reached stage.
func (s *Server) Reach(stage tier.Stage) {
	s.health.SetServingStatus(string(stage), healthv1.HealthCheckResponse_SERVING)
}

// Leave reports that the process is no longer at stage, which can only be Ready.
func (s *Server) Leave(stage tier.Stage) {
	s.health.SetServingStatus(string(stage), healthv1.HealthCheckResponse_NOT_SERVING)
}

// Burst reports whether the process has a burst of work that can wait for others'.
func (s *Server) Burst(on bool) {
	now := healthv1.HealthCheckResponse_NOT_SERVING
	if on {
		now = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(burst, now)
}

// SetDiscovery says how the process' aggregated discovery document is had.
func (s *Server) SetDiscovery(f func() ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discovery = f
}

// SetChecks says how the process' readiness checks are run.
func (s *Server) SetChecks(f func() []*handshakev1.Check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = f
}

// Publish announces what the process serves from now on. Incarnation and
// generation are filled in; the groups go to those only who ask for them.
func (s *Server) Publish(r *handshakev1.RoutesResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Incarnation, r.Generation = s.routes.GetIncarnation(), s.routes.GetGeneration()+1
	s.groups, r.Groups = r.GetGroups(), nil
	s.routes = r
	close(s.changed)
	s.changed = make(chan struct{})
}

// SetFlags adds to the description what the process shows at /flagz. It comes
// before Serve. A path need not be UTF-8, and a message that is not is not sent.
func (s *Server) SetFlags(flags map[string]string) {
	s.description.Flags = map[string]string{}
	for name, value := range flags {
		s.description.Flags[name] = strings.ToValidUTF8(value, "\uFFFD")
	}
}

// Describe implements handshakev1.HandshakeServer.
func (s *Server) Describe(context.Context, *handshakev1.DescribeRequest) (*handshakev1.DescribeResponse, error) {
	return s.description, nil
}

// Routes implements handshakev1.HandshakeServer. Nothing is sent before the
// first Publish; a slow reader misses generations, never the newest.
func (s *Server) Routes(r *handshakev1.RoutesRequest, stream grpc.ServerStreamingServer[handshakev1.RoutesResponse]) error {
	var sent uint64
	for {
		s.mu.Lock()
		routes, groups, changed := s.routes, s.groups, s.changed
		s.mu.Unlock()
		if routes.GetGeneration() > sent {
			if r.GetDiscovery() {
				routes = withGroups(routes, groups)
			}
			if err := stream.Send(routes); err != nil {
				return err
			}
			sent = routes.GetGeneration()
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// withGroups returns a copy: without groups, routes are sent to others.
func withGroups(routes *handshakev1.RoutesResponse, groups []byte) *handshakev1.RoutesResponse {
	return &handshakev1.RoutesResponse{
		Incarnation: routes.GetIncarnation(), Generation: routes.GetGeneration(), Complete: routes.GetComplete(),
		GroupVersions: routes.GetGroupVersions(), ListedPaths: routes.GetListedPaths(), Groups: groups,
	}
}

// Discovery implements handshakev1.HandshakeServer.
func (s *Server) Discovery(context.Context, *handshakev1.DiscoveryRequest) (*handshakev1.DiscoveryResponse, error) {
	s.mu.Lock()
	f, routes := s.discovery, s.routes
	s.mu.Unlock()
	if f == nil {
		return nil, status.Error(codes.Unavailable, "not prepared yet")
	}
	groups, err := f()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "cannot make the discovery document: %v", err)
	}
	return &handshakev1.DiscoveryResponse{Incarnation: routes.GetIncarnation(), Generation: routes.GetGeneration(), Groups: groups}, nil
}

// Checks implements handshakev1.HandshakeServer.
func (s *Server) Checks(context.Context, *handshakev1.ChecksRequest) (*handshakev1.ChecksResponse, error) {
	s.mu.Lock()
	f := s.checks
	s.mu.Unlock()
	if f == nil {
		return nil, status.Error(codes.Unavailable, "not prepared yet")
	}
	return &handshakev1.ChecksResponse{Checks: f()}, nil
}

// onlyForTheHead keeps the other tiers from asking about tokens: who may ask
// can try tokens out.
type onlyForTheHead struct {
	handshakev1.AuthenticatorServer
}

func (o onlyForTheHead) Authenticate(ctx context.Context, r *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	if caller, err := callerOf(ctx); err != nil || caller != (identity.Peer{Name: tier.Aggregator, Role: identity.Self}) {
		return nil, status.Errorf(codes.PermissionDenied, "only %s/%s may ask about tokens", tier.Aggregator, identity.Self)
	}
	return o.AuthenticatorServer.Authenticate(ctx, r)
}

func callerOf(ctx context.Context) (identity.Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return identity.Peer{}, status.Error(codes.Unauthenticated, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return identity.Peer{}, status.Error(codes.Unauthenticated, "no verified certificate")
	}
	return identity.PeerOf(info.State.VerifiedChains[0][0])
}
