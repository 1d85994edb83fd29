package serving

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/process"
)

const (
	// leavePatience is how long a head that is replaced waits for clients that ask
	// nothing: they cannot be told otherwise. Nodes renew their leases every 10 s.
	leavePatience = 10 * time.Second
	leavePoll     = 20 * time.Millisecond
	// publicPatience: the others may not be ready either, and then all would keep clients
	// waiting for ever, who are to hear that nobody is.
	publicPatience = 30 * time.Second
	// publicKeepAlive is kube-apiserver's.
	publicKeepAlive = 3 * time.Minute
)

// Public is the secure port, which replicas of the head share. A replica that joins
// others takes connections once it is ready, and leaves them to the others until then or
// for publicPatience. One that is replaced leaves the port to the others while it goes on
// serving: it takes no more connections and has its clients make new ones, HTTP/2 by
// GOAWAY and HTTP/1.1 by Connection: close. A server of net/http that stops would refuse
// what comes on a connection until the client has heard.
type Public struct {
	net.Listener
	leaving atomic.Bool
	opened  chan struct{}
	open    func()
	closed  chan struct{}
	close   func() error

	mu    sync.Mutex
	conns map[string]*publicConn // open ones, by the client's address
}

// OpenPublic opens the secure port of a head's process, and ties it to what becomes of
// the process.
func OpenPublic(p *process.Process) (*Public, error) {
	l, err := p.Wiring.Listen.Public.Open()
	if err != nil {
		return nil, fmt.Errorf("cannot open the secure port: %w", err)
	}
	public := newPublic(l)
	p.OnReady(public.Open)
	p.OnLeave(public.Leave)
	if p.Alone() {
		public.Open() // nobody else would answer
	} else {
		time.AfterFunc(publicPatience, public.Open)
	}
	return public, nil
}

func newPublic(l net.Listener) *Public {
	p := &Public{Listener: l, opened: make(chan struct{}), closed: make(chan struct{}), conns: map[string]*publicConn{}}
	p.open = sync.OnceFunc(func() { close(p.opened) })
	p.close = sync.OnceValue(func() error {
		close(p.closed)
		err := p.Listener.Close()
		if p.leaving.Load() {
			return nil // Leave has
		}
		return err
	})
	return p
}

// publicConn is a client's connection.
type publicConn struct {
	*net.TCPConn
	public *Public
	// told: the client knows that it is to make another connection.
	told atomic.Bool
}

// Close implements net.Conn.
func (c *publicConn) Close() error {
	c.public.mu.Lock()
	if address := c.RemoteAddr().String(); c.public.conns[address] == c { // and not its successor
		delete(c.public.conns, address)
	}
	c.public.mu.Unlock()
	return c.TCPConn.Close()
}

// Open begins to take connections.
func (p *Public) Open() { p.open() }

// SetDeadline sets the time at which Accept gives up.
func (p *Public) SetDeadline(t time.Time) error {
	if d, ok := p.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(t)
	}
	return nil
}

// Accept implements net.Listener. Before it is open, and once others have the port, it
// waits: an error would be the end of the server.
func (p *Public) Accept() (net.Conn, error) {
	select {
	case <-p.opened:
	case <-p.closed:
		return nil, net.ErrClosed
	}
	c, err := p.Listener.Accept()
	if err != nil && p.leaving.Load() {
		<-p.closed
		return nil, net.ErrClosed
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, err
	}
	_ = tcp.SetKeepAlivePeriod(publicKeepAlive)
	wrapped := &publicConn{TCPConn: tcp, public: p}
	p.mu.Lock()
	p.conns[c.RemoteAddr().String()] = wrapped
	p.mu.Unlock()
	return wrapped, nil
}

// Close implements net.Listener.
func (p *Public) Close() error { return p.close() }

// Leave leaves the port to other processes. It returns when every client has been told,
// or has had the time to ask something and be told.
func (p *Public) Leave(ctx context.Context) error {
	if !p.leaving.Swap(true) {
		_ = p.Listener.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	tick := time.NewTicker(leavePoll)
	defer tick.Stop()
	for !p.allTold() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (p *Public) allTold() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if !c.told.Load() {
			return false
		}
	}
	return true
}

// Tell is the filter by which clients are told.
func (p *Public) Tell(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.leaving.Load() {
			p.tell(w, r)
		}
		handler.ServeHTTP(w, r)
	})
}

func (p *Public) tell(w http.ResponseWriter, r *http.Request) {
	if _, inner := hop.PeerFrom(r.Context()); inner {
		return
	}
	w.Header().Set("Connection", "close")
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[r.RemoteAddr]; c != nil {
		c.told.Store(true)
	}
}
