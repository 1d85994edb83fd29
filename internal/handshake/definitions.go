package handshake

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// RegisterDefinitions has f called when another replica of extensions asks whether this
// one serves a CustomResourceDefinition: f returns when it does, or with its context's
// error. It must be called before Serve.
func (s *Server) RegisterDefinitions(f func(ctx context.Context, name, uid string) error) {
	handshakev1.RegisterDefinitionsServer(s.grpc, &definitions{f: f})
}

type definitions struct {
	handshakev1.UnimplementedDefinitionsServer
	f func(ctx context.Context, name, uid string) error
}

// Await implements handshakev1.DefinitionsServer.
func (d *definitions) Await(ctx context.Context, r *handshakev1.AwaitDefinitionRequest) (*handshakev1.AwaitDefinitionResponse, error) {
	if caller, err := callerOf(ctx); err != nil || caller != (identity.Peer{Name: tier.Extensions, Role: identity.Self}) {
		return nil, status.Errorf(codes.PermissionDenied, "only %s/%s may ask about definitions", tier.Extensions, identity.Self)
	}
	if err := d.f(ctx, r.GetName(), r.GetUid()); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return &handshakev1.AwaitDefinitionResponse{}, nil
}

// AwaitDefinition returns when the replica of extensions serves the
// CustomResourceDefinition of that name and UID. Only other replicas may ask.
func (c *Client) AwaitDefinition(ctx context.Context, name, uid string) error {
	_, err := handshakev1.NewDefinitionsClient(c.connection()).Await(ctx, &handshakev1.AwaitDefinitionRequest{Name: name, Uid: uid})
	return err
}
