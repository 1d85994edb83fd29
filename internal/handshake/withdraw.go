package handshake

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

// RegisterWithdrawal has f called when the supervisor asks for the API to be taken
// out of what clients find it by; core alone does. f may be called again, and side
// by side. It must be called before Serve.
func (s *Server) RegisterWithdrawal(f func() error) {
	handshakev1.RegisterWithdrawalServer(s.grpc, &withdrawal{f: f})
}

type withdrawal struct {
	handshakev1.UnimplementedWithdrawalServer
	f func() error
}

// Withdraw implements handshakev1.WithdrawalServer.
func (w *withdrawal) Withdraw(ctx context.Context, _ *handshakev1.WithdrawRequest) (*handshakev1.WithdrawResponse, error) {
	if err := onlySupervisor(ctx, "have the API withdrawn"); err != nil {
		return nil, err
	}
	if err := w.f(); err != nil {
		return nil, status.Errorf(codes.Unavailable, "%v", err)
	}
	return &handshakev1.WithdrawResponse{}, nil
}

// Withdraw asks core, whose handshake listener is at address, to take the API out
// of what clients find it by, and waits until it has. cfg is the supervisor's.
func Withdraw(ctx context.Context, address string, cfg *tls.Config) error {
	return ask(address, cfg, func(conn *grpc.ClientConn) error {
		_, err := handshakev1.NewWithdrawalClient(conn).Withdraw(ctx, &handshakev1.WithdrawRequest{})
		return err
	})
}
