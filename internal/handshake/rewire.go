package handshake

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

// RegisterRewiring has rewire called when the supervisor says that replicas came or
// went: it reads the wiring again and returns when that is in force. leave is called
// when this replica is to leave its clients, and other hosts, to others, and returns when
// they know; with hostsOnly clients of the secure port are not meant. It must be called
// before Serve.
func (s *Server) RegisterRewiring(rewire func() error, leave func(ctx context.Context, hostsOnly bool) error) {
	handshakev1.RegisterRewiringServer(s.grpc, &rewiring{rewire: rewire, leave: leave})
}

type rewiring struct {
	handshakev1.UnimplementedRewiringServer
	rewire func() error
	leave  func(ctx context.Context, hostsOnly bool) error
}

// Rewire implements handshakev1.RewiringServer.
func (w *rewiring) Rewire(ctx context.Context, _ *handshakev1.RewireRequest) (*handshakev1.RewireResponse, error) {
	return &handshakev1.RewireResponse{}, bySupervisor(ctx, w.rewire)
}

// Leave implements handshakev1.RewiringServer.
func (w *rewiring) Leave(ctx context.Context, r *handshakev1.LeaveRequest) (*handshakev1.LeaveResponse, error) {
	return &handshakev1.LeaveResponse{}, bySupervisor(ctx, func() error { return w.leave(ctx, r.GetHostsOnly()) })
}

func bySupervisor(ctx context.Context, f func() error) error {
	if err := onlySupervisor(ctx, "change the wiring"); err != nil {
		return err
	}
	if err := f(); err != nil {
		return status.Errorf(codes.Internal, "%v", err)
	}
	return nil
}

// Rewire has the process whose handshake listener is at address read its wiring
// again, and waits until that is in force. cfg is the supervisor's.
func Rewire(ctx context.Context, address string, cfg *tls.Config) error {
	return ask(address, cfg, func(conn *grpc.ClientConn) error {
		_, err := handshakev1.NewRewiringClient(conn).Rewire(ctx, &handshakev1.RewireRequest{})
		return err
	})
}

// Leave has the process whose handshake listener is at address leave its clients and other
// hosts to other replicas, or other hosts alone, and waits until they know.
func Leave(ctx context.Context, address string, cfg *tls.Config, hostsOnly bool) error {
	return ask(address, cfg, func(conn *grpc.ClientConn) error {
		_, err := handshakev1.NewRewiringClient(conn).Leave(ctx, &handshakev1.LeaveRequest{HostsOnly: hostsOnly})
		return err
	})
}
