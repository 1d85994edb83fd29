package supervisor

import (
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// place is where one replica is reached: sockets that outlive its processes.
type place struct {
	// index counts the replicas of the tier from 0, with gaps where one has gone.
	index          int
	hop, handshake *socket
}

func (p *place) endpoint(name tier.Name) wiring.Endpoint {
	return wiring.Endpoint{Replica: replica(name, p.index), Hop: p.hop.address.String(), Handshake: p.handshake.address.String()}
}

func (p *place) close() {
	for _, s := range []*socket{p.hop, p.handshake} {
		if s != nil {
			s.file.Close()
		}
	}
}

// replica names one process of a tier.
func replica(name tier.Name, index int) string { return fmt.Sprintf("%s-%d", name, index) }

// sockets are all listening sockets of the tiers: the secure port, which all
// replicas of the head accept from, and the places of the replicas. It is safe for
// concurrent use.
type sockets struct {
	head   tier.Name
	public *socket

	mu     sync.Mutex
	places map[tier.Name][]*place // by index
}

// listenAll opens the secure port first: it is the one that may be taken. Then come
// as many places as there are to be replicas.
func listenAll(o *options.Options, head tier.Name) (*sockets, error) {
	s := &sockets{head: head, places: map[tier.Name][]*place{}}
	var err error
	if s.public, err = listenPublic(o); err != nil {
		return nil, err
	}
	for _, name := range tier.UpTo(head) {
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
	for _, of := range []**socket{&p.hop, &p.handshake} {
		var err error
		if *of, err = listen("127.0.0.1:0", nil); err != nil {
			p.close()
			return nil, fmt.Errorf("cannot open a listener for %s: %w", replica(name, p.index), err)
		}
	}
	s.places[name] = slices.Insert(s.places[name], p.index, p)
	return p, nil
}

// remove takes a place out of the list. It is left open for the last requests of its
// process; the caller closes it.
func (s *sockets) remove(name tier.Name, p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places[name] = slices.DeleteFunc(s.places[name], func(other *place) bool { return other == p })
}

// of returns the places of the tier.
func (s *sockets) of(name tier.Name) []*place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.places[name])
}

// files are what a process of the tier inherits, in the order of listen.
func (s *sockets) files(name tier.Name, p *place) []*os.File {
	files := []*os.File{p.hop.file, p.handshake.file}
	if name == s.head {
		files = append(files, s.public.file)
	}
	return files
}

// count is how many files a process of the tier inherits.
func (s *sockets) count(name tier.Name) int {
	if name == s.head {
		return 3
	}
	return 2
}

// listen says where a process finds files, the first of which has number first.
func (s *sockets) listen(name tier.Name, first int) wiring.Listen {
	l := wiring.Listen{Hop: wiring.FD(first), Handshake: wiring.FD(first + 1)}
	if name == s.head {
		l.Public = wiring.FD(first + 2)
	}
	return l
}

func (s *sockets) endpoints() map[tier.Name][]wiring.Endpoint {
	all := map[tier.Name][]wiring.Endpoint{}
	for _, name := range tier.UpTo(s.head) {
		for _, p := range s.of(name) {
			all[name] = append(all[name], p.endpoint(name))
		}
	}
	return all
}

func (s *sockets) close() {
	s.public.file.Close()
	for _, name := range tier.UpTo(s.head) {
		for _, p := range s.of(name) {
			p.close()
		}
	}
}

// publicAddress is where the head of this machine is found by others.
func (s *setup) publicAddress() string {
	return net.JoinHostPort(s.advertise.String(), fmt.Sprint(s.sockets.public.address.Port))
}
