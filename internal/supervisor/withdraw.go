package supervisor

import (
	"context"
	"time"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

// withdrawBudget is how long a stop waits for the API to be out of the endpoints
// of the kubernetes Service. With the storage away that cannot be.
const withdrawBudget = 10 * time.Second

// withdrawal makes what takes the API out of what clients find it by, before the
// head refuses the first request: with --shutdown-delay-duration all of them learn
// of it in time. A core that is the head does this itself when it is told to stop.
func (s *setup) withdrawal(c *chain) (func(context.Context), error) {
	if s.head == tier.Core {
		return func(context.Context) {}, nil
	}
	mine := s.pki.Internal(identity.Supervisor)
	cfg, err := pki.ClientTLS(mine.CA, mine.Self.Cert, mine.Self.Key, identity.ServerName(tier.Core))
	if err != nil {
		return nil, process.ConfigurationError{Err: err}
	}
	address := s.sockets.handshake[tier.Core].address.String()
	return func(ctx context.Context) {
		// One that never was ready has no endpoints, and one that is away does
		// not answer.
		now, _ := c.Snapshot()
		if core := now.Children[string(tier.Core)]; !core.EverReady || !core.Stage.AtLeast(tier.Prepared) {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, withdrawBudget)
		defer cancel()
		if err := handshake.Withdraw(ctx, address, cfg); err != nil {
			c.post(func() { c.say("core: cannot withdraw the endpoints of the kubernetes Service yet: %v", err) })
		}
	}, nil
}
