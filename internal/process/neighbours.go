package process

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// neighbours are the other tiers as this process sees them.
type neighbours struct {
	mu       sync.Mutex
	watched  map[tier.Name]*handshake.Replicas
	replicas map[tier.Name][]wiring.Endpoint // by now; nil is as in Wiring
	followed []follower
	onLeave  func(context.Context) error // nil where nobody has to know
	onReady  func()                      // called once; nil where nobody has to know
}

type follower struct {
	tier tier.Name
	f    func([]wiring.Endpoint)
}

// Watch returns what watches the replicas of the named tier, one and the same for
// all who ask. Somebody must run it.
func (p *Process) Watch(name tier.Name) (*handshake.Replicas, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.watched[name]; known != nil {
		return known, nil
	}
	cfg, err := clientTLS(p.Wiring.PKI.CA, p.Wiring.PKI.Self, name)
	if err != nil {
		return nil, err
	}
	r, err := handshake.NewReplicas(name, p.now(name), cfg, p.settings)
	if err != nil {
		return nil, err
	}
	if p.watched == nil {
		p.watched = map[tier.Name]*handshake.Replicas{}
	}
	p.watched[name] = r
	return r, nil
}

// FollowReplicas calls f with the replicas of the named tier, now and whenever
// there are others; f returns when that is in force.
func (p *Process) FollowReplicas(name tier.Name, f func([]wiring.Endpoint)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.followed = append(p.followed, follower{name, f})
	f(p.now(name))
}

// Alone tells whether there is no other replica of this process' tier.
func (p *Process) Alone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.now(p.Wiring.Tier)) < 2
}

// now is where the replicas of the tier are. The caller holds the lock.
func (p *Process) now(name tier.Name) []wiring.Endpoint {
	if p.replicas == nil {
		return p.Wiring.Tiers[name]
	}
	return p.replicas[name]
}

// rewire reads the wiring again. What it says of replicas is in force on return;
// everything else in it is for the next process.
func (p *Process) rewire() error {
	w, err := wiring.Load(p.path, p.Wiring.Tier)
	if err != nil {
		return err
	}
	followed, err := p.adopt(w)
	if err != nil {
		return err
	}
	// After those who are asked whether a replica is ready.
	for _, one := range followed {
		one.f(w.Tiers[one.tier])
	}
	return nil
}

// adopt takes over where replicas are, and returns who has to know.
func (p *Process) adopt(w *wiring.Wiring) ([]follower, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replicas = w.Tiers
	for name, watched := range p.watched {
		if err := watched.Set(w.Tiers[name]); err != nil {
			return nil, err
		}
	}
	return slices.Clone(p.followed), nil
}

// OnLeave has f called when other replicas are to have this one's clients, while it goes
// on serving; f returns when the clients know.
func (p *Process) OnLeave(f func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onLeave = f
}

// OnReady has f called when the process is ready for the first time.
func (p *Process) OnReady(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onReady = f
}

func (p *Process) firstReady() {
	p.mu.Lock()
	f := p.onReady
	p.mu.Unlock()
	if f != nil {
		f()
	}
}

func (p *Process) leave(ctx context.Context) error {
	p.mu.Lock()
	f := p.onLeave
	p.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx)
}

// dialer returns how connections are made to the tier: each to the replica that is
// of most use by then. One that is away has its listener open, and is waited for.
func dialer(replicas *handshake.Replicas) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		at, ok := replicas.Choose()
		if !ok {
			return nil, fmt.Errorf("cannot connect: %w", replicas.Available())
		}
		return d.DialContext(ctx, "tcp", at.Hop)
	}
}
