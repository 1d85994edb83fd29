package handshake

import (
	"context"
	"crypto/tls"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/identity"
)

// ask calls f with a connection to a handshake listener, for one question.
func ask(address string, cfg *tls.Config, f func(*grpc.ClientConn) error) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithNoProxy())
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", address, err)
	}
	defer conn.Close()
	return f(conn)
}

// onlySupervisor refuses all other callers what they ask for.
func onlySupervisor(ctx context.Context, what string) error {
	if caller, err := callerOf(ctx); err != nil || caller != (identity.Peer{Name: identity.Supervisor, Role: identity.Self}) {
		return status.Errorf(codes.PermissionDenied, "only %s/%s may %s", identity.Supervisor, identity.Self, what)
	}
	return nil
}
