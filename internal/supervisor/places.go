package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// place is where one replica is reached: sockets that outlive its processes.
type place struct {
	// index counts the replicas of the tier from 0, with gaps where one has gone.
	index          int
	hop, handshake *socket
	local          *localSocket // of the hop, nil where hops are TCP alone
	// leaving: nothing is sent there any more, but its process, and with it its name, is
	// still there.
	leaving bool
}

func (p *place) endpoint(name tier.Name) wiring.Endpoint {
	return wiring.Endpoint{
		Replica: replica(name, p.index), Hop: p.hop.address.String(), Handshake: p.handshake.address.String(),
		HopSocket: p.local.where(),
	}
}

func (p *place) close() {
	for _, s := range []*socket{p.hop, p.handshake} {
		if s != nil {
			s.file.Close()
		}
	}
	p.local.close()
}

// replica names one process of a tier.
func replica(name tier.Name, index int) string { return fmt.Sprintf("%s-%d", name, index) }

// sockets are all listening sockets of the tiers: the secure port, which all
// replicas of the head accept from, and the places of the replicas. It is safe for
// concurrent use.
type sockets struct {
	head tier.Name
	// public is nil where the head is not on this host.
	public *socket
	// local is where the unix socket of a replica belongs; nil where hops are TCP alone.
	local func(replica string) string
	// listenAt is where tiers listen for other hosts.
	listenAt options.TierListen

	mu     sync.Mutex
	places map[tier.Name][]*place // by index
}

// listenAll opens the secure port first: it is the one that may be taken. Then come
// as many places as there are to be replicas of the tiers of this host.
func listenAll(o *options.Options, dir datadir.Dir, here []tier.Name, head tier.Name) (*sockets, error) {
	s := &sockets{head: head, listenAt: o.TierListen, places: map[tier.Name][]*place{}}
	if o.HopTransport == options.Unix {
		s.local = dir.HopSocket
	}
	if slices.Contains(here, head) {
		var err error
		if s.public, err = listenPublic(o); err != nil {
			return nil, err
		}
	}
	for _, name := range here {
		for range o.Replicas.Of(name) {
			if _, err := s.add(name); err != nil {
				s.close()
				return nil, err
			}
		}
	}
	return s, nil
}

// add opens a place for another replica, under the first number that is free.
func (s *sockets) add(name tier.Name) (*place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &place{}
	for p.index < len(s.places[name]) && s.places[name][p.index].index == p.index {
		p.index++
	}
	for i, of := range []**socket{&p.hop, &p.handshake} {
		var err error
		if *of, err = s.open(name, 2*p.index+i); err != nil {
			p.close()
			return nil, err
		}
	}
	if s.local != nil {
		var err error
		if p.local, err = listenLocal(s.local(replica(name, p.index))); err != nil {
			p.close()
			return nil, err
		}
	}
	s.places[name] = slices.Insert(s.places[name], p.index, p)
	return p, nil
}

// open opens the n-th socket of a tier, where other hosts find it or at a free port of
// loopback.
func (s *sockets) open(name tier.Name, n int) (*socket, error) {
	at, given := s.listenAt[name]
	if !given {
		found, err := listen("127.0.0.1:0", nil)
		if err != nil {
			return nil, fmt.Errorf("cannot open a listener for %s: %w", name, err)
		}
		return found, nil
	}
	address := netip.AddrPortFrom(at.Addr(), at.Port()+uint16(n)).String()
	found, err := listen(address, nil)
	if err != nil {
		return nil, cannotListen(err, address, "tier-listen", "tier-listen", "")
	}
	if found.address.IP.IsUnspecified() { // for who is on this host
		found.address.IP = loopbackLike(at.Addr())
	}
	return found, nil
}

func loopbackLike(ip netip.Addr) net.IP {
	if ip.Is4() {
		return net.IPv4(127, 0, 0, 1)
	}
	return net.IPv6loopback
}

// first tells whether the tier's first place, the one that other hosts were told of, is
// taken.
func (s *sockets) first(name tier.Name) bool {
	places := s.of(name)
	return len(places) > 0 && places[0].index == 0
}

// leave takes a place out of what others see. It stays open for the last requests of its
// process, and its number taken, until remove.
func (s *sockets) leave(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.leaving = true
}

// stay takes leave back: the place is seen by others again.
func (s *sockets) stay(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.leaving = false
}

// remove closes a place whose process is gone.
func (s *sockets) remove(name tier.Name, p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places[name] = slices.DeleteFunc(s.places[name], func(other *place) bool { return other == p })
	p.close()
}

// of returns the places of the tier but for those that are being left.
func (s *sockets) of(name tier.Name) []*place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.places[name]), func(p *place) bool { return p.leaving })
}

// files are what a process of the tier inherits, in the order of listen.
func (s *sockets) files(name tier.Name, p *place) []*os.File {
	files := []*os.File{p.hop.file, p.handshake.file}
	if p.local != nil {
		files = append(files, p.local.file)
	}
	if name == s.head {
		files = append(files, s.public.file)
	}
	return files
}

// listen says where a process finds files, the first of which has number first, and what
// number comes behind them.
func (s *sockets) listen(name tier.Name, first int) (l wiring.Listen, next int) {
	number := func() wiring.Socket { first++; return wiring.FD(first - 1) }
	l.Hop, l.Handshake = number(), number()
	if s.local != nil {
		l.HopSocket = number()
	}
	if name == s.head {
		l.Public = number()
	}
	return l, first
}

func (s *sockets) endpoints() map[tier.Name][]wiring.Endpoint {
	all := map[tier.Name][]wiring.Endpoint{}
	for name := range s.places {
		for _, p := range s.of(name) {
			all[name] = append(all[name], p.endpoint(name))
		}
	}
	return all
}

func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.public != nil {
		s.public.file.Close()
	}
	for _, places := range s.places {
		for _, p := range places {
			p.close()
		}
	}
}
