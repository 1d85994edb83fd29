package process

import (
	"context"
	"net"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
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

	onRenewed []func(patience time.Duration) error
	// stale: the certificates have changed, and not all go by that.
	stale bool
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
	r, err := handshake.NewReplicas(name, p.now(name), p.papers.self.Client(identity.ServerName(name)), p.settings)
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

// Alone tells whether there is no other replica of this process' tier on this host.
func (p *Process) Alone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(wiring.Siblings(p.now(p.Wiring.Tier))) < 2
}

// now is where the replicas of the tier are. The caller holds the lock.
func (p *Process) now(name tier.Name) []wiring.Endpoint {
	if p.replicas == nil {
		return p.Wiring.Tiers[name]
	}
	return p.replicas[name]
}

// rewire reads the wiring again, and the certificates that it names. What it says of replicas, memory and
// snapshots is in force on return; everything else in it is for the next process.
func (p *Process) rewire() error {
	w, err := wiring.Load(p.path, p.Wiring.Tier)
	if err != nil {
		return err
	}
	if w.SoftMemoryLimit > 0 {
		debug.SetMemoryLimit(w.SoftMemoryLimit)
	}
	tellSnapshots(w.Snapshots)
	followed, err := p.adopt(w)
	if err != nil {
		return err
	}
	// After those who are asked whether a replica is ready.
	for _, one := range followed {
		one.f(w.Tiers[one.tier])
	}
	return p.renew(context.Background(), w.PKI.Cut)
}

// adopt takes over where replicas are, and returns who has to know.
func (p *Process) adopt(w *wiring.Wiring) ([]follower, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replicas = w.Tiers
	p.Handshake.SetSiblings(siblings(w.Tiers[w.Tier]))
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

// hostsPatience is how long a process that is about to stop waits for other hosts to
// know: they wait for who takes its place, and change their wiring as this one does.
const hostsPatience = 15 * time.Second

func (p *Process) leave(ctx context.Context, hostsOnly bool) error {
	p.mu.Lock()
	f := p.onLeave
	p.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, hostsPatience)
	defer cancel()
	if err := p.Handshake.LeaveHosts(bounded); err != nil {
		klog.InfoS("Another host does not say that it has left", "err", err)
	}
	if f == nil || hostsOnly {
		return nil
	}
	return f(ctx)
}

// siblings are what other hosts are told of replicas.
func siblings(replicas []wiring.Endpoint) []*handshakev1.Sibling {
	var all []*handshakev1.Sibling
	for _, at := range wiring.Siblings(replicas) {
		all = append(all, &handshakev1.Sibling{Replica: at.Replica, HopPort: portOf(at.Hop), HandshakePort: portOf(at.Handshake)})
	}
	return all
}

// portOf is 0 for what is no host:port.
func portOf(address string) uint32 {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint32(n)
}
