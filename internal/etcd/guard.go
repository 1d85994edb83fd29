package etcd

import (
	"context"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// guard lets each tier call what it needs. etcd's own rights are about keys; who may
// compact, take leases or try passwords they do not say.
type guard struct {
	log *zap.Logger
	// secured tells whether rights are in force. Until then tiers are not let in.
	secured func() bool
}

const (
	kv          = "/etcdserverpb.KV/"
	watches     = "/etcdserverpb.Watch/"
	leases      = "/etcdserverpb.Lease/"
	maintenance = "/etcdserverpb.Maintenance/"
	compaction  = kv + "Compact"
)

// everyTier is what the client of every API server calls.
var everyTier = []string{kv, watches, maintenance + "Status", "/grpc.health.v1.Health/"}

// mayCall tells whether the holder of a certificate of that common name may call a
// method. Only core compacts, and has objects that end by themselves.
func mayCall(name, method string) bool {
	switch tier.Name(name) {
	case identity.Supervisor, Operator:
		return true
	case tier.Core:
		return begins(method, append(everyTier, leases)...)
	case tier.Aggregator, tier.Extensions:
		return method != compaction && begins(method, everyTier...)
	}
	return false
}

func begins(method string, with ...string) bool {
	for _, prefix := range with {
		if strings.HasPrefix(method, prefix) {
			return true
		}
	}
	return false
}

func (g *guard) check(ctx context.Context, method string) error {
	name := commonName(ctx)
	if !mayCall(name, method) {
		g.log.Warn("refused a call", zap.String("user", name), zap.String("method", method))
		return status.Errorf(codes.PermissionDenied, "etcdserver: permission denied: %q may not call %s", name, method)
	}
	if name != string(identity.Supervisor) && !g.secured() {
		return status.Error(codes.Unavailable, "etcd is being told who may do what")
	}
	return nil
}

// commonName is that of the certificate that the connection was verified by, empty for
// none.
func commonName(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ""
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName
}

func (g *guard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := g.check(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func (g *guard) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := g.check(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handle(srv, stream)
}
