package handshake

import (
	"crypto/x509"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	ours "triptych.dev/triptych/internal/credentials"
)

// door is TLS for a server that knows who is in, and closes their connections when what vouches for them ends.
type door struct {
	credentials.TransportCredentials

	mu     sync.Mutex
	bundle *x509.CertPool // of the last verify; nil before
	guests map[*guest]struct{}
}

// guest is the connection of a peer.
type guest struct {
	net.Conn
	door  *door
	chain []*x509.Certificate

	mu     sync.Mutex
	expiry *time.Timer
	end    time.Time
}

// ServerHandshake implements credentials.TransportCredentials.
func (d *door) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	is, ok := info.(credentials.TLSInfo)
	if !ok || len(is.State.VerifiedChains) == 0 {
		return conn, info, nil // callerOf refuses it
	}
	g := &guest{Conn: conn, door: d, chain: is.State.VerifiedChains[0], end: ours.Expiry(is.State.VerifiedChains)}
	g.expiry = time.AfterFunc(time.Until(g.end), func() { _ = g.Close() })
	d.mu.Lock()
	d.guests[g] = struct{}{}
	bundle := d.bundle
	d.mu.Unlock()
	if bundle != nil && !ours.Vouches(bundle, g.chain) {
		_ = g.Close() // its handshake began before the last verify
	}
	return g, info, nil
}

// Clone implements credentials.TransportCredentials. A server has one door.
func (d *door) Clone() credentials.TransportCredentials { return d }

// Close implements net.Conn.
func (g *guest) Close() error {
	g.expiry.Stop()
	g.door.mu.Lock()
	delete(g.door.guests, g)
	g.door.mu.Unlock()
	return g.Conn.Close()
}

func (g *guest) leave(patience time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if end := time.Now().Add(patience); end.Before(g.end) {
		g.end = end
		g.expiry.Reset(patience)
	}
}

func (d *door) verify(bundle *x509.CertPool, patience time.Duration) {
	d.mu.Lock()
	d.bundle = bundle
	var gone []*guest
	for g := range d.guests {
		if !ours.Vouches(bundle, g.chain) {
			gone = append(gone, g)
		}
	}
	d.mu.Unlock()
	for _, g := range gone {
		if patience == 0 {
			_ = g.Close()
		} else {
			g.leave(patience)
		}
	}
}
