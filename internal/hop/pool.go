package hop

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// errLost ends a life.
var errLost = errors.New("the process went away")

// life is one life of the delegate, from our point of view: it ends with
// DelegateLost or Close. Connections are made and reused within one life.
type life struct {
	ctx context.Context
	end context.CancelCauseFunc
}

func newLife() *life {
	ctx, end := context.WithCancelCause(context.Background())
	return &life{ctx: ctx, end: end}
}

// pool keeps the connections to the delegate. The one used last is used next,
// so that those not needed any more grow old and are closed.
type pool struct {
	address string
	socket  string // of the same replica; empty for none
	tls     *tls.Config
	meter   *meter

	mu     sync.Mutex
	now    *life
	closed bool
	// retired: nothing is kept, because the replica is not to be asked any more.
	retired bool
	// epoch counts refreshes: nothing is kept of one before.
	epoch int
	idle  []*conn            // oldest first
	all   map[*conn]struct{} // idle and in use
	sweep *time.Timer        // nil when nothing is idle

	reported struct{ idle, busy int } // of the metrics' sums
}

func newPool(address, socket string, config *tls.Config, m *meter) *pool {
	return &pool{address: address, socket: socket, tls: config, meter: m, now: newLife(), all: map[*conn]struct{}{}}
}

func (p *pool) current() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// reuse returns an idle connection of the life l that is known to be alive, or
// nil.
func (p *pool) reuse(l *life) *conn {
	for {
		c := p.pop(l)
		if c == nil || c.alive() {
			return c
		}
		p.discard(c)
	}
}

// connect makes a connection within the life l.
func (p *pool) connect(ctx context.Context, l *life) (*conn, error) {
	p.mu.Lock()
	epoch := p.epoch
	p.mu.Unlock()
	c, err := dial(ctx, p.address, p.socket, p.tls, l)
	if err != nil {
		return nil, err
	}
	c.epoch = epoch
	return c, p.adopt(c)
}

// turned returns how often the pool was refreshed.
func (p *pool) turned() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch
}

func (p *pool) pop(l *life) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 || p.now != l {
		return nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	p.report()
	return c
}

func (p *pool) adopt(c *conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.abort()
		return net.ErrClosed
	}
	p.all[c] = struct{}{}
	p.report()
	return nil
}

// put takes back a connection on which everything that was asked for was
// answered and read.
func (p *pool) put(c *conn) {
	if !p.keep(c) {
		p.discard(c)
	}
}

func (p *pool) keep(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.retired || p.now != c.life || p.epoch != c.epoch || len(p.idle) >= maxIdle {
		return false
	}
	c.idleSince = time.Now()
	clear(c.fields) // do not hold on to the last answer's header
	p.idle = append(p.idle, c)
	p.report()
	if p.sweep == nil {
		p.sweep = time.AfterFunc(clientIdleTimeout, p.expire)
	}
	return true
}

// discard closes c. It says farewell only to be polite, and does not wait.
func (p *pool) discard(c *conn) {
	p.mu.Lock()
	delete(p.all, c)
	p.report()
	p.mu.Unlock()
	c.abort()
}

// report shows how many connections there are, of all replicas together. The caller
// holds the lock.
func (p *pool) report() {
	idle, busy := len(p.idle), len(p.all)-len(p.idle)
	p.meter.idle.Add(float64(idle - p.reported.idle))
	p.meter.busy.Add(float64(busy - p.reported.busy))
	p.reported.idle, p.reported.busy = idle, busy
}

// expire closes what was idle for too long.
func (p *pool) expire() {
	p.mu.Lock()
	limit := time.Now().Add(-clientIdleTimeout)
	n := 0
	for n < len(p.idle) && !p.idle[n].idleSince.After(limit) {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.sweep = nil
	if len(p.idle) > 0 {
		p.sweep = time.AfterFunc(p.idle[0].idleSince.Sub(limit), p.expire)
	}
	p.mu.Unlock()
	for _, c := range old {
		p.discard(c)
	}
}

// renew ends the delegate's life and begins the next.
func (p *pool) renew() {
	for _, c := range p.turn(false) {
		p.discard(c)
	}
}

// refresh keeps no connection that was begun before now. Those in use are closed after their answers.
func (p *pool) refresh() {
	p.mu.Lock()
	p.epoch++
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		p.discard(c)
	}
}

// retire keeps no connection from now on. Those in use are closed after their
// answers.
func (p *pool) retire() {
	p.mu.Lock()
	p.retired = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		p.discard(c)
	}
}

func (p *pool) close() {
	p.turn(true)
	p.mu.Lock()
	all := p.all
	p.all = map[*conn]struct{}{}
	p.report()
	p.mu.Unlock()
	for c := range all {
		c.abort()
	}
}

// turn ends a life and returns what was idle in it.
func (p *pool) turn(last bool) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.end(errLost)
	p.closed = p.closed || last
	if !p.closed {
		p.now = newLife()
	}
	if p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
	idle := p.idle
	p.idle = nil
	return idle
}
