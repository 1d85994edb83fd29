package supervisor

import (
	"context"
	"sync"
	"time"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/tier"
)

// withdrawBudget is how long a stop waits for the API to be out of the endpoints
// of the kubernetes Service. With the storage away that cannot be.
const withdrawBudget = 10 * time.Second

// withdrawal makes what takes the API out of what clients find it by, before the
// head refuses the first request: with --shutdown-delay-duration all of them learn
// of it in time. Every replica of core is asked: each would put back what another has
// taken out.
func (s *setup) withdrawal(c *chain) func(context.Context) {
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, withdrawBudget)
		defer cancel()
		now, _ := c.Snapshot()
		var all sync.WaitGroup
		for _, p := range s.sockets.of(tier.Core) {
			name := replica(tier.Core, p.index)
			// One that never was ready has no endpoints, and one that is away does
			// not answer.
			if core := now.Children[name]; !core.EverReady || !core.Stage.AtLeast(tier.Prepared) {
				continue
			}
			all.Go(func() {
				if err := handshake.Withdraw(ctx, p.handshake.address.String(), s.selfTLS(tier.Core)); err != nil {
					c.post(func() { c.say("%s: cannot withdraw the endpoints of the kubernetes Service yet: %v", name, err) })
				}
			})
		}
		all.Wait()
	}
}
