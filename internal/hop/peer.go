package hop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"
	"time"

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
	if t, ok := c.(*tls.Conn); ok {
		return context.WithValue(ctx, peerKey{}, t.NetConn())
	}
	return ctx
}

// peerConn is a connection below TLS that remembers whom it belongs to.
type peerConn struct {
	net.Conn
	set  *peerSet
	peer atomic.Pointer[identity.Peer]
	turn turn

	mu     sync.Mutex
	chain  []*x509.Certificate // nil until the peer is verified
	expiry *time.Timer
	closed bool
}

// settle records the verified peer and closes the connection when its
// certificate expires: a verdict given once must not outlive what it is about.
func (c *peerConn) settle(peer identity.Peer, chains [][]*x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.chain = chains[0]
	c.expiry = time.AfterFunc(time.Until(latestExpiry(chains)), func() { c.Close() })
	c.peer.Store(&peer)
}

// latestExpiry is when the last chain that vouches for the peer ends. A chain
// ends with the first certificate in it.
func latestExpiry(chains [][]*x509.Certificate) time.Time {
	var latest time.Time
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, cert := range chain[1:] {
			if cert.NotAfter.Before(end) {
				end = cert.NotAfter
			}
		}
		if end.After(latest) {
			latest = end
		}
	}
	return latest
}

// vouchedBy tells whether the peer, if there is one yet, is still good under
// the bundle. The chain is the verified one, so it holds every intermediate.
func (c *peerConn) vouchedBy(bundle *x509.CertPool) bool {
	c.mu.Lock()
	chain := c.chain
	c.mu.Unlock()
	if chain == nil {
		return false
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         bundle,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

func (c *peerConn) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.mu.Unlock()
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
	c := &peerConn{Conn: raw, set: l.set, turn: newTurn()}
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

// verify closes the connections whose peer the bundle does not vouch for, and
// those whose handshake is still under way with what was loaded before.
func (s *peerSet) verify(bundle *x509.CertPool) {
	for _, c := range s.all() {
		if !c.vouchedBy(bundle) {
			c.Close()
		}
	}
}
