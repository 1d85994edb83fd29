package observe

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/tier"
)

// Etcd returns a function that watches one etcd process at address until ctx
// ends. Etcd knows no stages of ours: it is ready when it takes part in reads
// and writes, and not while it is full.
func Etcd(address string, cfg *tls.Config) func(ctx context.Context, sink Sink) {
	return func(ctx context.Context, sink Sink) {
		var wait sync.WaitGroup
		wait.Go(func() { pulse(ctx, address, cfg, sink) })
		wait.Go(func() {
			awaitEtcd(ctx, address, cfg, sink)
			watchRoom(ctx, address, cfg, sink)
		})
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

// roomPause is the time between two looks at how full etcd is. Tests shorten it.
var roomPause = 2 * time.Second

// watchRoom reports etcd as not ready while it is full. That it does not answer is
// for others to find.
func watchRoom(ctx context.Context, address string, cfg *tls.Config, sink Sink) {
	client, err := etcd.Dial(address, cfg)
	if err != nil {
		return // as awaitEtcd has reported
	}
	defer client.Close()
	for full := false; ctx.Err() == nil; {
		room, err := client.Room(ctx)
		if err == nil && room.Full != full {
			if full = room.Full; full {
				sink.Full(room.String())
				sink.ReadinessLost()
			} else {
				sink.Full("")
				sink.Reached(tier.Ready)
			}
		}
		select {
		case <-time.After(roomPause):
		case <-ctx.Done():
		}
	}
}
