// Package etcd is the embedded etcd: a single member in a process of its own,
// on loopback and behind mutual TLS, with data that is kept. Run is that
// process; Reserve, WaitHealthy and Dial are for the supervisor, its parent.
//
//	supervisor: Reserve -> start child (Args) -> WaitHealthy -> ... SIGTERM, last of all -> Close
//	child:      Run: check -> bootstrap -> serve, defragment -> drain -> exit
package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"triptych.dev/triptych/internal/process"
)

// closeTimeout bounds the graceful stop. Streams are cut at once, so what is
// left are requests in flight and the last commit to disk. Leaving it undone
// loses nothing: what was acknowledged is in the write-ahead log.
var closeTimeout = 5 * time.Second

// Run serves until ctx ends, then stops gracefully within closeTimeout and
// returns nil. It returns an error when etcd cannot start or fails. What restarting
// cannot mend is a process.ConfigurationError. Once it has failed, the process
// must end: etcd does not clean up after a fatal error.
func Run(ctx context.Context, o Options) error {
	process.HoldLifeline(o.Lifeline)
	o.complete()
	if err := check(o); err != nil {
		return err
	}
	if err := enclose(o); err != nil {
		return err
	}
	failures := newFailures()
	log, err := newLogger(o.LogLevel, failures)
	if err != nil {
		return err
	}
	// Streams end with this one and not with ctx, so that a defragmentation
	// under way can still finish before the clients are cut off.
	stopping, stopStreams := context.WithCancel(context.Background())
	defer stopStreams()
	var serving atomic.Pointer[embed.Etcd]
	guard := &guard{log: log, secured: func() bool {
		server := serving.Load()
		return server != nil && server.Server.AuthStore().IsAuthEnabled()
	}}
	server, err := start(ctx, config(o, log, stopping, guard), log, failures)
	if err != nil || server == nil {
		return explain(o, cannotStart, err)
	}
	serving.Store(server)
	go disarm(stopping, server.Server, log)
	stopKeeping := keepCompact(server.Server.Backend(), o.DataDir, log)
	if err := wait(ctx, server, failures); err != nil {
		return explain(o, failed, err)
	}
	return bounded(closeTimeout, func() {
		stopKeeping()
		stopStreams()
		server.Close()
	})
}

// start bootstraps etcd. It runs aside, because opening the data of a server
// that is still alive blocks, because ctx may end meanwhile, and because etcd
// reports half of its errors by ending the goroutine. The server is nil without
// an error when ctx ended first.
func start(ctx context.Context, c *embed.Config, log *zap.Logger, failures *failures) (*embed.Etcd, error) {
	started := make(chan *embed.Etcd, 1)
	go func() {
		defer failures.recover()
		if err := whole(c.Dir); err != nil {
			failures.report(err)
			return
		}
		if err := bury(c.Dir, log); err != nil {
			failures.report(err)
			return
		}
		server, err := embed.StartEtcd(c)
		if err != nil {
			failures.report(err)
			return
		}
		started <- server
	}()
	select {
	case server := <-started:
		return server, nil
	case err := <-failures.first:
		return nil, err
	case <-ctx.Done():
		return nil, nil
	}
}

func wait(ctx context.Context, server *embed.Etcd, failures *failures) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-failures.first:
		return err
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return errors.New("it stopped by itself")
	}
}

func bounded(limit time.Duration, stop func()) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	select {
	case <-stopped:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("etcd did not stop gracefully within %s", limit)
	}
}
