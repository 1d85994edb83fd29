package observe

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/tier"
)

// Etcd returns a function that watches one etcd process at address until ctx
// ends. Etcd knows no stages of ours: it is ready when it takes part in reads
// and writes, and it stays so in our eyes as long as it lives.
func Etcd(address string, cfg *tls.Config) func(ctx context.Context, sink Sink) {
	return func(ctx context.Context, sink Sink) {
		var wait sync.WaitGroup
		wait.Go(func() { pulse(ctx, address, cfg, sink) })
		wait.Go(func() {
			for ctx.Err() == nil {
				if err := etcd.WaitHealthy(ctx, address, cfg); err == nil {
					sink.Reached(tier.Ready)
					return
				}
				select {
				case <-time.After(checkPause):
				case <-ctx.Done():
				}
			}
		})
		wait.Wait()
	}
}
