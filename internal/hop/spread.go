package hop

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// clientMemory is how long a client connection that asks for nothing keeps its
// replica. Caches of two replicas are never that far apart.
const clientMemory = 10 * time.Minute

// clientQuiet is after how long such a connection is no load any more: most of those that say nothing are closed.
const clientQuiet = 5 * time.Second

// setPatience bounds the wait for answers of a replica that goes. What takes longer is
// in the hands of its process, which finishes it.
const setPatience, setPoll = 2 * time.Second, time.Millisecond

// Replica is one process of a tier that is delegated to.
type Replica struct {
	// Name is unique among the replicas of the tier: "core-0".
	Name string
	// Address is the host:port of its hop listener, and Socket the path of the unix
	// socket beside it, empty if there is none.
	Address, Socket string
	// Available tells why the process cannot be called, nil when it can: see
	// ForwarderConfig. It must not block.
	Available func() error
	// Ready tells whether the process is to be preferred to one that is merely
	// available. Nil means always. It must not block.
	Ready func() bool
	// Remote: it is on another host, and gets no new client while one of this host is as
	// good.
	Remote bool
}

// Spread hands requests to the replicas of a tier. All requests of one client
// connection go to one replica, so that a client never reads the past after the
// present; the replica that the fewest are asking gets the next, of this host if one is as
// good as any. A client is moved
// only when its replica is not ready and another one is. It is safe for
// concurrent use.
type Spread struct {
	config ForwarderConfig

	mu       sync.Mutex
	replicas []*replica
	clients  map[string]*client // by address; empty while there is one replica
	swept    time.Time
	counted  time.Time
}

type replica struct {
	Replica
	*Forwarder
	// load is how many clients ask for something, or did not long before Spread.counted, and those that came since.
	load int
}

// usable tells how good it is to send a request to the replica.
func (r *replica) usable() int {
	switch {
	case r.Available != nil && r.Available() != nil:
		return 0
	case r.Ready != nil && !r.Ready():
		return 1
	}
	return 2
}

// client is one connection of a client's.
type client struct {
	replica  *replica
	inFlight int
	seen     time.Time
}

// NewSpread makes a Spread without replicas. Address, Socket and Available of c are left
// out: each replica has its own.
func NewSpread(c ForwarderConfig) *Spread {
	return &Spread{config: c, clients: map[string]*client{}, swept: time.Now()}
}

// Set says which replicas there are. Those that stay keep their connections and
// clients. One that goes answers what it was sent: Set returns when it has begun to, or
// after setPatience. From then on its process may stop, and finds no request on the way.
func (s *Spread) Set(all []Replica) {
	deadline := time.Now().Add(setPatience)
	for _, r := range s.set(all) {
		for r.unanswered.Load() > 0 && time.Now().Before(deadline) {
			time.Sleep(setPoll)
		}
	}
}

// set returns the replicas that go.
func (s *Spread) set(all []Replica) []*replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next []*replica
	for _, one := range all {
		i := slices.IndexFunc(s.replicas, func(r *replica) bool { return r.Name == one.Name && r.Address == one.Address && r.Socket == one.Socket })
		if i >= 0 {
			next = append(next, s.replicas[i])
			s.replicas = slices.Delete(s.replicas, i, i+1)
			continue
		}
		next = append(next, s.make(one))
	}
	for _, gone := range s.replicas {
		gone.retire()
		for address, c := range s.clients {
			if c.replica == gone {
				delete(s.clients, address)
			}
		}
	}
	gone := s.replicas
	s.replicas = next
	if len(next) < 2 {
		clear(s.clients)
	}
	return gone
}

func (s *Spread) make(one Replica) *replica {
	config := s.config
	config.Address, config.Socket, config.Available = one.Address, one.Socket, one.Available
	r := &replica{Replica: one}
	r.Forwarder = NewForwarder(config)
	r.Forwarder.another = func() *Forwarder { return s.instead(r) }
	return r
}

// Lost says that the process of the named replica went away; see
// Forwarder.DelegateLost.
func (s *Spread) Lost(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		if r.Name == name {
			r.DelegateLost()
		}
	}
}

// Refresh is that of all Forwarders.
func (s *Spread) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		r.Refresh()
	}
}

// Close ends every connection; requests in flight are broken off.
func (s *Spread) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		r.Forwarder.Close()
	}
}

// ServeHTTP forwards r as a Forwarder does.
func (s *Spread) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, done := s.choose(r.RemoteAddr)
	if f == nil {
		none := &Forwarder{config: s.config}
		if none.config.ErrorWriter == nil {
			none.config.ErrorWriter = WriteStatus
		}
		none.refuse(w, r, none.unavailable(errors.New("there is no process of it")))
		return
	}
	defer done()
	f.serve(w, r, false)
}

// Each returns a handler for each replica, by name, that asks that one and no other. One
// that is not available answers as a Forwarder does.
func (s *Spread) Each() map[string]http.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]http.Handler{}
	for _, r := range s.replicas {
		all[r.Name] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			r.unanswered.Add(1)
			r.serve(w, req, true)
		})
	}
	return all
}

func nothing() {}

// choose returns whom the client at address is served by now; done is to be called
// after its request. It is nil if there is no replica at all.
func (s *Spread) choose(address string) (f *Forwarder, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch len(s.replicas) {
	case 0:
		return nil, nil
	case 1:
		s.replicas[0].unanswered.Add(1)
		return s.replicas[0].Forwarder, nothing
	}
	now := time.Now()
	c := s.clients[address]
	if c == nil {
		s.sweep(now)
		s.count(now)
		c = &client{}
		s.clients[address] = c
	}
	if best := s.best(c.replica); best != c.replica {
		if c.replica != nil {
			c.replica.load--
		}
		c.replica = best
		best.load++
	}
	c.inFlight++
	c.seen = now
	c.replica.unanswered.Add(1)
	return c.replica.Forwarder, func() { s.leave(c) }
}

func (s *Spread) leave(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.inFlight--
	c.seen = time.Now()
}

// best returns the most usable replica, the client's own if it is as good as any,
// else the one with the least load. The caller holds the lock.
func (s *Spread) best(own *replica) *replica {
	return slices.MaxFunc(s.replicas, func(a, b *replica) int {
		return cmp.Or(
			cmp.Compare(a.usable(), b.usable()),
			cmp.Compare(btoi(a == own), btoi(b == own)),
			cmp.Compare(btoi(b.Remote), btoi(a.Remote)),
			cmp.Compare(b.load, a.load),
		)
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sweep forgets clients that have been quiet for long, once in a while. The caller
// holds the lock.
func (s *Spread) sweep(now time.Time) {
	if now.Sub(s.swept) < clientMemory {
		return
	}
	s.swept = now
	for address, c := range s.clients {
		if c.inFlight == 0 && now.Sub(c.seen) > clientMemory {
			delete(s.clients, address)
		}
	}
}

// count finds out the load of the replicas, at most once a second. The caller holds the lock.
func (s *Spread) count(now time.Time) {
	if now.Sub(s.counted) < time.Second {
		return
	}
	s.counted = now
	for _, r := range s.replicas {
		r.load = 0
	}
	for _, c := range s.clients {
		if c.inFlight > 0 || now.Sub(c.seen) <= clientQuiet {
			c.replica.load++
		}
	}
}

// instead returns another replica that a request can be sent to when it cannot be
// had from r; nil if there is none.
func (s *Spread) instead(r *replica) *Forwarder {
	s.mu.Lock()
	defer s.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(s.replicas), func(other *replica) bool { return other == r || other.usable() == 0 })
	if len(others) == 0 {
		return nil
	}
	return slices.MaxFunc(others, func(a, b *replica) int {
		return cmp.Or(cmp.Compare(a.usable(), b.usable()), cmp.Compare(btoi(b.Remote), btoi(a.Remote)), cmp.Compare(b.load, a.load))
	}).Forwarder
}
