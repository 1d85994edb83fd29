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
// and writes and knows what each tier may do below --etcd-prefix, and not while it
// is full.
func Etcd(address, prefix string, cfg *tls.Config) func(ctx context.Context, sink Sink) {
	return func(ctx context.Context, sink Sink) {
		var wait sync.WaitGroup
		wait.Go(func() { pulse(ctx, address, cfg, sink) })
		wait.Go(func() {
			awaitEtcd(ctx, address, prefix, cfg, sink)
			watchRoom(ctx, address, cfg, sink)
		})
		wait.Wait()
	}
}

// awaitEtcd reports etcd as ready even when its quota is reached: the API server
// is how its users free space.
func awaitEtcd(ctx context.Context, address, prefix string, cfg *tls.Config, sink Sink) {
	err := etcd.WaitHealthy(ctx, address, cfg)
	alarm := &etcd.AlarmError{}
	if err == nil || errors.As(err, &alarm) && !alarm.Corrupt {
		err = secure(ctx, address, prefix, cfg)
	}
	switch {
	case err == nil:
		sink.Reached(tier.Ready)
	case ctx.Err() == nil:
		sink.Rejected(err.Error())
	}
}

// securePause is the time between two attempts to tell etcd who may do what.
const securePause = 200 * time.Millisecond

// secureAttempts bounds how often is tried what ought to work at once.
const secureAttempts = 25

func secure(ctx context.Context, address, prefix string, cfg *tls.Config) error {
	client, err := etcd.Dial(address, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	for range secureAttempts {
		if err = client.Secure(ctx, prefix); err == nil {
			return nil
		}
		select {
		case <-time.After(securePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
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
