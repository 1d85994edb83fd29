package supervisor

import (
	"context"
	"time"

	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// tunnelsTimeout bounds the question: a core that is stuck must not hide the rest of
// the status.
const tunnelsTimeout = 2 * time.Second

// tunnels asks a core, whose handshake listener is at address, how its tunnels to the
// nodes stand. The answer is nil where nodes are reached directly, before core can
// say, and from a core that is too old to.
func (s *setup) tunnels(ctx context.Context, core lifecycle.View, address string) *control.Tunnels {
	if s.options.SSH().User == "" || !core.Stage.AtLeast(tier.Configured) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tunnelsTimeout)
	defer cancel()
	count, err := handshake.CountTunnels(ctx, address, s.selfTLS(tier.Core))
	switch {
	case err != nil:
		return &control.Tunnels{Problem: "core does not say how its tunnels stand: " + status.Convert(err).Message()}
	case count == nil:
		return nil
	}
	return &control.Tunnels{
		Up: int(count.GetUp()), Connecting: int(count.GetConnecting()), Down: int(count.GetDown()), SyncAgeSeconds: count.GetSyncAgeSeconds(),
	}
}
