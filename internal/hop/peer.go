package hop

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"triptych.dev/triptych/internal/credentials"
	"triptych.dev/triptych/internal/identity"
)

type peerKey struct{}

// PeerFrom returns who holds the certificate of the connection that a request
// came in on. It was verified when the connection was made. ok is false where
// ctx is not that of a request to a Server.
func PeerFrom(ctx context.Context) (peer identity.Peer, ok bool) {
	conn, _ := ctx.Value(peerKey{}).(*peerConn)
	if conn == nil {
		return identity.Peer{}, false
	}
	p := conn.peer.Load()
	if p == nil {
		return identity.Peer{}, false
	}
	return *p, true
}

// withPeer is the server's ConnContext. It runs before the handshake, which is
// why the context holds the connection and not yet the peer.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerConnOf(c))
}

// peerConnOf returns what is below a connection that net/http serves.
func peerConnOf(c net.Conn) *peerConn {
	over, _ := c.(interface{ NetConn() net.Conn }) // *tls.Conn or *localConn
	if over == nil {
		return nil
	}
	p, _ := over.NetConn().(*peerConn)
	return p
}

// peerConn is a connection below TLS that remembers whom it belongs to.
type peerConn struct {
	net.Conn
	set  *peerSet
	peer atomic.Pointer[identity.Peer]
	turn turn
	// fresh ends when the connection is to be left: its watches end, and every answer says that it
	// is the last one.
	fresh context.Context
	age   context.CancelFunc

	mu       sync.Mutex
	chain    []*x509.Certificate // nil until the peer is verified
	ageing   *time.Timer
	expiry   *time.Timer
	deadline time.Time // of expiry
	closed   bool
}

// serveOn says what is said farewell on.
func (c *peerConn) serveOn(nc net.Conn) {
	c.turn.mu.Lock()
	c.turn.conn = nc
	c.turn.mu.Unlock()
}

// lastPart is which part of a certificate's life is for leaving the connections that were made with it. It is
// replaced when a third is left (see package pki).
const lastPart = 6

// aged tells whether the connection is to be left.
func (c *peerConn) aged() bool { return c != nil && c.fresh.Err() != nil }

// settle records the verified peer and closes the connection when its
// certificate expires: a verdict given once must not outlive what it is about.
func (c *peerConn) settle(peer identity.Peer, chains [][]*x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.chain = chains[0]
	c.deadline = credentials.Expiry(chains)
	left := time.Until(c.deadline)
	c.expiry = time.AfterFunc(left, func() { c.Close() })
	c.ageing = time.AfterFunc(left-chains[0][0].NotAfter.Sub(chains[0][0].NotBefore)/lastPart, c.age)
	c.peer.Store(&peer)
}

// vouchedBy tells whether the peer is still good under the bundle. Of one that is not known yet that is
// asked when it is.
func (c *peerConn) vouchedBy(bundle *x509.CertPool) bool {
	c.mu.Lock()
	chain := c.chain
	c.mu.Unlock()
	return chain == nil || credentials.Vouches(bundle, chain)
}

// leave has the connection end after patience at the latest.
func (c *peerConn) leave(patience time.Duration) {
	c.age()
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := time.Now().Add(patience); c.expiry != nil && !c.closed && end.Before(c.deadline) {
		c.deadline = end
		c.expiry.Reset(patience)
	}
}

func (c *peerConn) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.expiry != nil {
		c.expiry.Stop()
		c.ageing.Stop()
	}
	c.mu.Unlock()
	c.age()
	c.set.remove(c)
	return c.Conn.Close()
}

// CloseWrite ends our half, for upgraded connections.
func (c *peerConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// peerListener wraps what it accepts.
type peerListener struct {
	net.Listener
	set   *peerSet
	close func() error
}

// Close may be called again: net/http does.
func (l *peerListener) Close() error { return l.close() }

func (l *peerListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &peerConn{Conn: unpaced(raw), set: l.set, turn: newTurn()}
	c.fresh, c.age = context.WithCancel(context.Background())
	l.set.add(c)
	return c, nil
}

// peerSet holds the open connections of a server. The zero value is ready.
type peerSet struct {
	mu    sync.Mutex
	conns map[*peerConn]struct{}
}

func (s *peerSet) add(c *peerConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*peerConn]struct{}{}
	}
	s.conns[c] = struct{}{}
}

func (s *peerSet) remove(c *peerConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *peerSet) all() []*peerConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*peerConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

func (s *peerSet) closeAll() {
	for _, c := range s.all() {
		c.Close()
	}
}

// verify ends the connections whose peer the bundle does not vouch for.
func (s *peerSet) verify(bundle *x509.CertPool, patience time.Duration) {
	for _, c := range s.all() {
		switch {
		case c.vouchedBy(bundle):
		case patience == 0:
			c.Close()
		default:
			c.leave(patience)
		}
	}
}
