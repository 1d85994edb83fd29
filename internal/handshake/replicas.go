package handshake

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// Replicas watches every process of a tier. To those who ask about the tier it
// speaks with one voice, that of a spokesman: what one process tells is in order,
// while two processes learn the same things at different times. Another one becomes
// the spokesman only when it has come further, such as when the one before is lost.
// All methods may be called from any goroutine.
type Replicas struct {
	tier     tier.Name
	tls      *tls.Config
	settings map[string]string

	mu        sync.Mutex
	discovery bool
	onLost    []func(replica string)
	ctx       context.Context // of Run; nil before
	running   sync.WaitGroup
	members   []*member // in the order of the wiring
	spokesman *member
	state     State
	changed   chan struct{} // closed and replaced whenever state changes
}

// member is one process of the tier.
type member struct {
	at   wiring.Endpoint
	stop context.CancelFunc // nil before Run
	*Client
}

// NewReplicas returns what watches the replicas of the named tier at the given
// places; see NewClient. Run does the work.
func NewReplicas(name tier.Name, at []wiring.Endpoint, cfg *tls.Config, settings map[string]string) (*Replicas, error) {
	r := &Replicas{tier: name, tls: cfg, settings: settings, changed: make(chan struct{})}
	return r, r.Set(at)
}

// Set says which replicas there are. Those that stay are watched on.
func (r *Replicas) Set(at []wiring.Endpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var next []*member
	for _, one := range at {
		if i := slices.IndexFunc(r.members, func(m *member) bool { return m.at == one }); i >= 0 {
			next = append(next, r.members[i])
			continue
		}
		client, err := NewClient(r.tier, one.Handshake, r.tls, r.settings)
		if err != nil {
			return err
		}
		next = append(next, r.join(&member{at: one, Client: client}))
	}
	for _, m := range r.members {
		if !slices.Contains(next, m) && m.stop != nil {
			m.stop()
		}
	}
	r.members = next
	r.elect()
	return nil
}

// join has the member watched as all others. The caller holds the lock.
func (r *Replicas) join(m *member) *member {
	m.discovery = r.discovery
	m.onChange = r.hear
	m.OnLost(func() { r.lost(m.at.Replica) })
	if r.ctx != nil {
		r.run(m)
	}
	return m
}

func (r *Replicas) run(m *member) {
	ctx, stop := context.WithCancel(r.ctx)
	m.stop = stop
	r.running.Go(func() { m.Run(ctx) })
}

// Run watches until ctx ends, then closes the connections. Once it was called, further
// calls return at once.
func (r *Replicas) Run(ctx context.Context) {
	r.mu.Lock()
	if r.ctx != nil {
		r.mu.Unlock()
		return
	}
	r.ctx = ctx
	for _, m := range r.members {
		r.run(m)
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.running.Wait()
}

// OnLost has f called with the name of each replica whose process is lost; f must
// not block. It is to be called before Run.
func (r *Replicas) OnLost(f func(replica string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onLost = append(r.onLost, f)
}

func (r *Replicas) lost(replica string) {
	r.mu.Lock()
	all := slices.Clone(r.onLost)
	r.mu.Unlock()
	for _, f := range all {
		f(replica)
	}
}

// WithDiscovery has State.Routes bring the discovery document along, if the
// processes know how to. It is to be called before Run.
func (r *Replicas) WithDiscovery() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.discovery = true
	for _, m := range r.members {
		m.WithDiscovery()
	}
}

// hear takes note that something about a member changed.
func (r *Replicas) hear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.elect()
}

// elect finds who speaks for the tier and takes over what it says. What was served
// last is remembered when nobody is there. The caller holds the lock.
func (r *Replicas) elect() {
	best := r.spokesman
	if !slices.Contains(r.members, best) {
		best = nil
	}
	for _, m := range r.members {
		if best == nil || m.standing() > best.standing() {
			best = m
		}
	}
	r.spokesman = best
	state := State{}
	if best != nil {
		state, _ = best.State()
	}
	if state.Routes == nil {
		state.Routes = r.state.Routes
	}
	if state.Description == nil {
		state.Description = r.state.Description
	}
	r.state = state
	close(r.changed)
	r.changed = make(chan struct{})
}

const standingReady = 5

// standing is how far a process has come in being of use.
func (c *Client) standing() int {
	state, _ := c.State()
	switch {
	case !state.Connected:
		return 0
	case state.Refused != nil:
		return 1
	case !state.Reached[tier.Prepared] || !state.current():
		return 2
	case state.Reached[tier.Draining]:
		return 3
	case !state.Reached[tier.Ready]:
		return 4
	}
	return standingReady
}

// State returns what the tier's spokesman says and a channel that is closed at the
// next change.
func (r *Replicas) State() (State, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state, r.changed
}

// Wait returns the first state for which ok is true, or the last one seen and
// ctx's error.
func (r *Replicas) Wait(ctx context.Context, ok func(State) bool) (State, error) {
	return wait(ctx, r.State, ok)
}

// Available returns nil when a process of the tier may be sent requests, else why
// not. It does not block.
func (r *Replicas) Available() error {
	r.mu.Lock()
	spokesman := r.spokesman
	r.mu.Unlock()
	if spokesman == nil {
		return r.away()
	}
	return spokesman.Available()
}

// Replica returns the client of the named replica, or nil.
func (r *Replicas) Replica(name string) *Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		if m.at.Replica == name {
			return m.Client
		}
	}
	return nil
}

// Others returns the replicas but self that may be sent requests now.
func (r *Replicas) Others(self string) map[string]*Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]*Client{}
	for _, m := range r.members {
		if m.at.Replica != self && m.Available() == nil {
			all[m.at.Replica] = m.Client
		}
	}
	return all
}

// Choose returns where the most useful process of the tier is: one that is ready,
// else one that may be sent requests, else any. ok is false if there is none.
func (r *Replicas) Choose() (at wiring.Endpoint, ok bool) {
	all := r.byStanding()
	if len(all) == 0 {
		return wiring.Endpoint{}, false
	}
	return all[0].at, true
}

// byStanding returns the members, the most useful first, those of this host before their
// equals, and the spokesman before others.
func (r *Replicas) byStanding() []*member {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.members)
	slices.SortStableFunc(all, func(a, b *member) int {
		if c := cmp.Compare(b.standing(), a.standing()); c != 0 {
			return c
		}
		switch {
		case a.at.Remote && !b.at.Remote:
			return 1
		case b.at.Remote && !a.at.Remote:
			return -1
		}
		switch r.spokesman {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	return all
}

// Ping returns nil if every process answers that is there, and one is.
func (r *Replicas) Ping(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	there := false
	for _, m := range r.byStanding() {
		if state, _ := m.State(); state.Connected {
			there = true
			group.Go(func() error { return m.Ping(ctx) })
		}
	}
	if !there {
		return r.away()
	}
	return group.Wait()
}

// Discovery returns the spokesman's aggregated discovery document.
func (r *Replicas) Discovery(ctx context.Context) (*handshakev1.DiscoveryResponse, error) {
	return first(r, func(c *Client) (*handshakev1.DiscoveryResponse, error) { return c.Discovery(ctx) })
}

// Checks runs the spokesman's readiness checks.
func (r *Replicas) Checks(ctx context.Context) (*handshakev1.ChecksResponse, error) {
	return first(r, func(c *Client) (*handshakev1.ChecksResponse, error) { return c.Checks(ctx) })
}

// Authenticate has core judge a bearer token. Only core answers, only the head. It
// fails at once when core is away or must not be worked with; when the process that
// was asked is lost, another one is asked.
func (r *Replicas) Authenticate(ctx context.Context, q *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	var lost error
	for _, m := range r.byStanding() {
		answer, err := m.Authenticate(ctx, q)
		if err == nil || ctx.Err() != nil || (status.Code(err) != codes.Unavailable && m.Available() == nil) {
			return answer, err
		}
		lost = cmp.Or(lost, err)
	}
	return nil, cmp.Or(lost, r.away())
}

func (r *Replicas) away() error { return fmt.Errorf("the %s tier is away", r.tier) }

// first asks the spokesman, and the next one when it is replaced meanwhile.
func first[T any](r *Replicas, ask func(*Client) (T, error)) (T, error) {
	for {
		r.mu.Lock()
		spokesman := r.spokesman
		r.mu.Unlock()
		if spokesman == nil {
			var none T
			return none, r.away()
		}
		answer, err := ask(spokesman.Client)
		if err == nil || !r.replaced(spokesman) {
			return answer, err
		}
	}
}

func (r *Replicas) replaced(m *member) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spokesman != m
}
