package remote

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

const (
	// resolveEvery is how often names are looked up, resolvePatience how long one look
	// may take.
	resolveEvery, resolvePatience = 10 * time.Second, 2 * time.Second
	// successorPatience is how long a replica that leaves is kept for one that is not ready yet
	// for this host.
	successorPatience, successorPoll = 5 * time.Second, 20 * time.Millisecond
)

// Local is this host as Hosts want to know it.
type Local struct {
	// Ours tells whether an incarnation is that of a process of this host, which a name
	// may resolve to as well.
	Ours func(incarnation string) bool
	// Changed is called after each change of Endpoints. It returns when the processes
	// here go by it, and is never called twice at a time.
	Changed func()
	// Say takes a line for what an administrator wants to know.
	Say func(format string, args ...any)
}

// Hosts are the replicas of tiers on other hosts. All methods may be called from any
// goroutine.
type Hosts struct {
	tls     func(tier.Name) *tls.Config
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	running sync.WaitGroup
	change  sync.Mutex // held while Local.Changed is called

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before
	local Local           // zero before Run
	sites []*site
}

// site is one tier at one address of configuration.
type site struct {
	tier    tier.Name
	at      options.Address
	hosts   []*host
	problem string // why the name does not resolve; empty if it does
}

// host is one address of a site.
type host struct {
	tier   tier.Name
	ip     netip.Addr
	first  uint16 // the port of the first replica's hop
	places []*place
}

// place is where one replica is, or was.
type place struct {
	at     wiring.Endpoint
	host   *host
	client *handshake.Client
	stop   context.CancelFunc // nil before Run
	// told is what its process said last of its host's replicas; nil before it did, and
	// once it is lost.
	told []*handshakev1.Sibling
	// leaving: its process has said that it is about to stop. Of the others, who say the same
	// on streams of their own, some may not have said it yet.
	leaving bool
	// left: its host said that there is nobody any more.
	left bool
	// ours: it turned out to be of this host.
	ours bool
}

// New returns what watches the tiers at the given places; config is for the supervisor's own
// calls to a tier. It looks every name up once, for no longer than resolvePatience together.
func New(at options.TierAt, config func(tier.Name) *tls.Config) (*Hosts, error) {
	h := &Hosts{tls: config, lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
	for _, name := range tier.Order {
		for _, one := range at[name] {
			h.sites = append(h.sites, &site{tier: name, at: one})
		}
	}
	if _, err := h.resolve(context.Background()); err != nil {
		return nil, err
	}
	return h, nil
}

// Problems are names that do not resolve, each a line.
func (h *Hosts) Problems() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, s := range h.sites {
		if s.problem != "" {
			all = append(all, s.problem)
		}
	}
	return all
}

// Run watches until ctx ends. It is called once.
func (h *Hosts) Run(ctx context.Context, local Local) {
	h.mu.Lock()
	h.ctx, h.local = ctx, local
	for _, s := range h.sites {
		for _, one := range s.hosts {
			for _, p := range one.places {
				h.run(p)
			}
		}
	}
	h.mu.Unlock()
	for tick := time.NewTicker(resolveEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			h.running.Wait()
			return
		case <-tick.C:
			if changed, err := h.resolve(ctx); err != nil {
				local.Say("cannot watch other hosts: %v", err)
			} else if changed {
				h.tell()
			}
		}
	}
}

// tell has the processes here go by what is known now.
func (h *Hosts) tell() {
	h.change.Lock()
	defer h.change.Unlock()
	h.local.Changed()
}

// resolve looks up the names, and tells whether Endpoints have changed.
func (h *Hosts) resolve(ctx context.Context) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	type found struct {
		ips []netip.Addr
		err error
	}
	all, wait := make([]found, len(h.sites)), sync.WaitGroup{}
	for i, s := range h.sites {
		wait.Go(func() {
			if ip, err := netip.ParseAddr(s.at.Host); err == nil {
				all[i].ips = []netip.Addr{ip}
				return
			}
			all[i].ips, all[i].err = h.lookup(ctx, s.at.Host)
		})
	}
	wait.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.endpoints()
	for i, s := range h.sites {
		if err := h.found(s, all[i].ips, all[i].err); err != nil {
			return false, err
		}
	}
	return !same(before, h.endpoints()), nil
}

// found takes note of what a site's name resolves to. When it does not, all stay: a
// name server that is away takes no tier along. The caller holds the lock.
func (h *Hosts) found(s *site, ips []netip.Addr, failed error) error {
	problem := ""
	if failed != nil || len(ips) == 0 {
		problem = fmt.Sprintf("cannot find %s at %s: %v", s.tier, s.at, failed)
	}
	if problem != "" && s.problem == "" && h.ctx != nil {
		h.local.Say("%s", problem)
	}
	s.problem = problem
	if problem != "" {
		return nil
	}
	for i, ip := range ips {
		ips[i] = ip.Unmap()
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	ips = slices.Compact(ips)
	s.hosts = slices.DeleteFunc(s.hosts, func(one *host) bool {
		gone := !slices.Contains(ips, one.ip)
		if gone {
			for _, p := range one.places {
				p.end()
			}
		}
		return gone
	})
	for _, ip := range ips {
		if slices.ContainsFunc(s.hosts, func(one *host) bool { return one.ip == ip }) {
			continue
		}
		one := &host{tier: s.tier, ip: ip, first: s.at.Port}
		if err := h.add(one, s.at.Port, s.at.Port+1); err != nil {
			return err
		}
		s.hosts = append(s.hosts, one)
	}
	return nil
}

// add watches another place of a host. The caller holds the lock.
func (h *Hosts) add(one *host, hop, shake uint16) error {
	at := wiring.Endpoint{Hop: netip.AddrPortFrom(one.ip, hop).String(), Handshake: netip.AddrPortFrom(one.ip, shake).String(), Remote: true}
	// A name that no replica of this host has, and that is the same in all processes here.
	at.Replica = string(one.tier) + "@" + at.Hop
	p := &place{at: at, host: one}
	var err error
	if p.client, err = handshake.NewClient(one.tier, at.Handshake, h.tls(one.tier), nil); err != nil {
		return err
	}
	p.client.WithSiblings(func(all []*handshakev1.Sibling, leaving bool) { h.heard(p, all, leaving) })
	p.client.OnLost(func() { h.lost(p) })
	one.places = append(one.places, p)
	if h.ctx != nil {
		h.run(p)
	}
	return nil
}

func (h *Hosts) run(p *place) {
	ctx, stop := context.WithCancel(h.ctx)
	p.stop = stop
	h.running.Go(func() { p.client.Run(ctx) })
}

func (p *place) end() {
	if p.stop != nil {
		p.stop()
	}
}

// heard takes note of what the process at p says of its host, and returns when nobody here
// calls a replica that is said to leave.
func (h *Hosts) heard(p *place, told []*handshakev1.Sibling, leaving bool) {
	if told == nil {
		told = []*handshakev1.Sibling{} // the last one leaves
	}
	if leaving {
		stays := &handshakev1.Sibling{HopPort: uint32(p.port()), HandshakePort: uint32(p.shakePort())}
		h.act(h.learn(p, append([]*handshakev1.Sibling{stays}, told...), false))
		h.awaitSuccessor(p, told)
	}
	h.act(h.learn(p, told, leaving))
}

// act has the processes here go by what was learned, and only then leaves the places that are
// gone: whoever is there stops when nobody follows it.
func (h *Hosts) act(changed bool, gone []*place) {
	if changed {
		h.tell()
	}
	for _, p := range gone {
		p.end()
	}
}

// awaitSuccessor waits until one of those that stay is ready for this host too. Processes
// here watch them as long as the supervisor does.
func (h *Hosts) awaitSuccessor(p *place, stay []*handshakev1.Sibling) {
	ready := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.ContainsFunc(p.host.places, func(other *place) bool { return other != p && other.client.Ready() })
	}
	for end := time.Now().Add(successorPatience); len(stay) > 0 && !ready() && time.Now().Before(end); {
		time.Sleep(successorPoll)
	}
}

// lost takes note that the process at p is lost.
func (h *Hosts) lost(p *place) {
	changed, gone := h.learn(p, nil, false)
	h.running.Go(func() { h.act(changed, gone) })
}

// learn tells whether Endpoints have changed, and which places are gone.
func (h *Hosts) learn(p *place, told []*handshakev1.Sibling, leaving bool) (changed bool, gone []*place) {
	state, _ := p.client.State()
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.endpoints()
	if told != nil { // whoever leaves and is gone has still left
		p.leaving = leaving
	}
	p.told, p.ours = told, h.local.Ours(state.Description.GetIncarnation())
	gone, err := h.agree(p.host)
	if err != nil {
		h.local.Say("cannot watch %s: %v", p.at.Replica, err)
	}
	return !same(before, h.endpoints()), gone
}

// agree makes the places of a host those that its processes tell of, and the first one.
// While none of them is there, all stay as they are. It returns those that are gone. The
// caller holds the lock.
func (h *Hosts) agree(one *host) (gone []*place, err error) {
	said, heard := map[uint16]uint16{}, false
	for _, p := range one.places {
		if p.told == nil {
			continue
		}
		heard = true
		for _, sibling := range p.told {
			said[uint16(sibling.GetHopPort())] = uint16(sibling.GetHandshakePort())
		}
	}
	if !heard {
		return nil, nil
	}
	one.places = slices.DeleteFunc(one.places, func(p *place) bool {
		_, there := said[p.port()]
		p.left = !there || p.leaving
		delete(said, p.port())
		if p.left && p.port() != one.first {
			gone = append(gone, p)
			return true
		}
		return false
	})
	for hop, shake := range said {
		if err := h.add(one, hop, shake); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

func (p *place) port() uint16 { return portOf(p.at.Hop) }

func (p *place) shakePort() uint16 { return portOf(p.at.Handshake) }

func portOf(address string) uint16 {
	at, _ := netip.ParseAddrPort(address)
	return at.Port()
}

// Endpoints returns the replicas of other hosts that processes here are to know.
func (h *Hosts) Endpoints() map[tier.Name][]wiring.Endpoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.endpoints()
}

func (h *Hosts) endpoints() map[tier.Name][]wiring.Endpoint {
	all := map[tier.Name][]wiring.Endpoint{}
	h.each(func(p *place) {
		known := slices.ContainsFunc(all[p.host.tier], func(e wiring.Endpoint) bool { return e.Replica == p.at.Replica })
		if !p.left && !known && !p.ours {
			all[p.host.tier] = append(all[p.host.tier], p.at)
		}
	})
	return all
}

// Reconnect has all connections be made anew, by what config says now of who we are.
func (h *Hosts) Reconnect(ctx context.Context) {
	var clients []*handshake.Client
	h.mu.Lock()
	h.each(func(p *place) { clients = append(clients, p.client) })
	h.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() { _ = c.Reconnect(ctx) }) // it is tried again when the old connection ends
	}
	all.Wait()
}

// each calls f with every place. The caller holds the lock.
func (h *Hosts) each(f func(*place)) {
	for _, s := range h.sites {
		for _, one := range s.hosts {
			for _, p := range one.places {
				f(p)
			}
		}
	}
}

func same(a, b map[tier.Name][]wiring.Endpoint) bool {
	for _, name := range tier.Order {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}
