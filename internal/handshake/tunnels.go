package handshake

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

// RegisterTunnels has f called when the supervisor asks how the tunnels to the nodes
// stand; only a core that keeps some calls it. It must be called before Serve.
func (s *Server) RegisterTunnels(f func() *handshakev1.CountResponse) {
	handshakev1.RegisterTunnelsServer(s.grpc, &tunnels{f: f})
}

type tunnels struct {
	handshakev1.UnimplementedTunnelsServer
	f func() *handshakev1.CountResponse
}

// Count implements handshakev1.TunnelsServer.
func (t *tunnels) Count(ctx context.Context, _ *handshakev1.CountRequest) (*handshakev1.CountResponse, error) {
	if err := onlySupervisor(ctx, "count the tunnels"); err != nil {
		return nil, err
	}
	return t.f(), nil
}

// CountTunnels asks the core whose handshake listener is at address how its tunnels
// stand. The answer is nil if it keeps none, or is too old to say. cfg is the
// supervisor's.
func CountTunnels(ctx context.Context, address string, cfg *tls.Config) (count *handshakev1.CountResponse, err error) {
	err = ask(address, cfg, func(conn *grpc.ClientConn) error {
		count, err = handshakev1.NewTunnelsClient(conn).Count(ctx, &handshakev1.CountRequest{})
		return err
	})
	if status.Code(err) == codes.Unimplemented {
		return nil, nil
	}
	return count, err
}
