package process

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"triptych.dev/triptych/internal/handshake"
)

// dialer makes the connections of a process' own calls to a tier. It ends those to a
// replica that is lost: a host that went away without a word would otherwise keep
// informers waiting until their own pings give up.
type dialer struct {
	replicas *handshake.Replicas
	dial     net.Dialer

	mu   sync.Mutex
	open map[*dialed]struct{}
}

func newDialer(replicas *handshake.Replicas) *dialer {
	d := &dialer{
		replicas: replicas, open: map[*dialed]struct{}{},
		dial: net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}, // client-go's
	}
	replicas.OnLost(d.lost)
	return d
}

// dialed is a connection to a replica.
type dialed struct {
	net.Conn
	dialer  *dialer
	replica string
}

// Close implements net.Conn.
func (c *dialed) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// DialContext connects to the replica that is of most use now, whatever the address. One
// of this host that is away has its listener open, and is waited for.
func (d *dialer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	at, ok := d.replicas.Choose()
	if !ok {
		return nil, fmt.Errorf("cannot connect: %w", d.replicas.Available())
	}
	raw, err := d.dial.DialContext(ctx, "tcp", at.Hop)
	if err != nil {
		return nil, err
	}
	c := &dialed{Conn: raw, dialer: d, replica: at.Replica}
	d.mu.Lock()
	d.open[c] = struct{}{}
	d.mu.Unlock()
	return c, nil
}

// lost ends the connections to a replica. One that was left on purpose answers first, and
// ends them itself.
func (d *dialer) lost(replica string) {
	if d.replicas.Replica(replica) == nil {
		return
	}
	d.mu.Lock()
	var gone []*dialed
	for c := range d.open {
		if c.replica == replica {
			gone = append(gone, c)
		}
	}
	d.mu.Unlock()
	for _, c := range gone {
		_ = c.Close()
	}
}
