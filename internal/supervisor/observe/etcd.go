package observe

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"

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
		wait.Go(func() { awaitEtcd(ctx, address, cfg, sink) })
		wait.Wait()
	}
}

// awaitEtcd reports etcd as ready even when its quota is reached: the API server
// is how its users free space.
func awaitEtcd(ctx context.Context, address string, cfg *tls.Config, sink Sink) {
	err := etcd.WaitHealthy(ctx, address, cfg)
	alarm := &etcd.AlarmError{}
	switch {
	case err == nil, errors.As(err, &alarm) && !alarm.Corrupt:
		sink.Reached(tier.Ready)
	case ctx.Err() == nil:
		sink.Rejected(err.Error())
	}
}
