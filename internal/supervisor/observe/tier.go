// Package observe watches the processes of the supervisor's children: which
// stages they reach, who they say they are, and whether they live.
package observe

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

// Sink takes what is seen. Its methods are called from several goroutines and
// may block.
type Sink interface {
	// Reached says that the process reached a stage.
	Reached(tier.Stage)
	// ReadinessLost says that the process is no longer ready.
	ReadinessLost()
	// Described says who the process says it is, once in its life.
	Described(*handshakev1.DescribeResponse)
	// Rejected says that the process must not be worked with.
	Rejected(reason string)
	// Full says that etcd takes no more writes, and how large it is, or empty that
	// it takes them again.
	Full(size string)
	// Burst says whether the process has a burst of work that can wait for others'.
	Burst(on bool)
	// Alive and Silent say whether the process answered a health check in time.
	Alive()
	Silent()
}

// Tier returns a function that watches one process of the named tier at
// address, its handshake listener, until ctx ends. The listener stays open
// while its process is dead, so watching may begin before the process accepts.
func Tier(name tier.Name, address string, cfg *tls.Config) func(ctx context.Context, sink Sink) {
	return func(ctx context.Context, sink Sink) {
		client, err := handshake.NewClient(name, address, cfg, nil)
		if err != nil {
			sink.Rejected(err.Error())
			return
		}
		client.WithBursts()
		var wait sync.WaitGroup
		wait.Go(func() { client.Run(ctx) })
		wait.Go(func() { pulse(ctx, address, cfg, sink) })
		follow(ctx, name, client, sink)
		wait.Wait()
	}
}

// follow passes on every change of what client knows.
func follow(ctx context.Context, name tier.Name, client *handshake.Client, sink Sink) {
	f := follower{name: name, sink: sink}
	for {
		state, changed := client.State()
		if state.Connected {
			f.see(state)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// follower remembers what it has passed on.
type follower struct {
	name      tier.Name
	sink      Sink
	described bool
	ready     bool
	burst     bool
}

func (f *follower) see(now handshake.State) {
	if !f.described {
		f.described = true
		describe(f.name, now, f.sink)
	}
	if f.burst != now.Burst {
		f.burst = now.Burst
		f.sink.Burst(now.Burst)
	}
	for _, stage := range tier.Stages {
		if now.Reached[stage] && (stage != tier.Ready || !f.ready) {
			f.sink.Reached(stage)
		}
	}
	// A connection that was made anew knows nothing of readiness at first: only
	// a report that names it counts.
	ready, told := now.Reached[tier.Ready]
	if told && !ready && f.ready {
		f.sink.ReadinessLost()
	}
	if told {
		f.ready = ready
	}
}

func describe(name tier.Name, now handshake.State, sink Sink) {
	if now.Refused != nil {
		sink.Rejected(now.Refused.Error())
		return
	}
	if got := now.Description.GetTier(); got != string(name) {
		sink.Rejected(fmt.Sprintf("the process answers as tier %q: is the right program in the place of %s?", got, name))
		return
	}
	sink.Described(now.Description)
}
