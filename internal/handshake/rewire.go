package handshake

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
)

// RegisterRewiring has f called when the supervisor says that replicas came or
// went; f reads the wiring again and returns when it is in force. It must be called
// before Serve.
func (s *Server) RegisterRewiring(f func() error) {
	handshakev1.RegisterRewiringServer(s.grpc, &rewiring{f: f})
}

type rewiring struct {
	handshakev1.UnimplementedRewiringServer
	f func() error
}

// Rewire implements handshakev1.RewiringServer.
func (w *rewiring) Rewire(ctx context.Context, _ *handshakev1.RewireRequest) (*handshakev1.RewireResponse, error) {
	if caller, err := callerOf(ctx); err != nil || caller != (identity.Peer{Name: identity.Supervisor, Role: identity.Self}) {
		return nil, status.Errorf(codes.PermissionDenied, "only %s/%s may change the wiring", identity.Supervisor, identity.Self)
	}
	if err := w.f(); err != nil {
		return nil, status.Errorf(codes.Internal, "%v", err)
	}
	return &handshakev1.RewireResponse{}, nil
}

// Rewire has the process whose handshake listener is at address read its wiring
// again, and waits until that is in force. cfg is the supervisor's.
func Rewire(ctx context.Context, address string, cfg *tls.Config) error {
	return ask(address, cfg, func(conn *grpc.ClientConn) error {
		_, err := handshakev1.NewRewiringClient(conn).Rewire(ctx, &handshakev1.RewireRequest{})
		return err
	})
}
