package hop

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

var (
	// errTimeout cuts an exchange that took too long.
	errTimeout = errors.New("the request took too long")
	// errGone cuts an exchange whose client went away.
	errGone = errors.New("the client went away")
)

// ErrEnd is the cause with which the caller of a Forwarder cancels a request's
// context to have what the client got so far end cleanly, as the serving tier
// would end a watch: this process stops, the client is still there.
var ErrEnd = errors.New("the answer is to end here")

// past is a deadline that makes everything that waits return.
var past = time.Unix(1, 0)

// guard cuts an exchange when the client goes or the time is over, wherever
// the exchange's goroutines wait at that moment.
type guard struct {
	client *http.ResponseController

	mu    sync.Mutex
	conn  *conn   // what the exchange waits on at the delegate's side
	lane  *laneIn // or this
	begun bool    // the client has seen the status
	over  bool    // the handler returns: the client's side is out of reach
	done  bool    // how the exchange ended is settled
	cause error

	stops [2]func() bool
}

// start arms the guard; bound 0 is no bound.
func (g *guard) start(ctx context.Context, bound time.Duration) {
	g.stops[0] = context.AfterFunc(ctx, func() {
		switch {
		case errors.Is(context.Cause(ctx), ErrEnd):
			g.cut(ErrEnd)
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			g.cut(errTimeout)
		default:
			g.cut(errGone)
		}
	})
	if bound > 0 {
		g.stops[1] = time.AfterFunc(bound, func() { g.cut(errTimeout) }).Stop
	}
}

// stop disarms the guard and tells whether the exchange went uncut.
func (g *guard) stop() bool {
	for _, stop := range g.stops {
		if stop != nil {
			stop()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	return g.cause == nil
}

func (g *guard) cut(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.done || g.cause != nil {
		return
	}
	g.cause = cause
	if g.conn != nil {
		g.conn.abort()
	}
	if g.lane != nil {
		g.lane.cut(cause)
	}
	if g.begun && cause != ErrEnd {
		_ = g.client.SetWriteDeadline(past)
	}
}

// settle comes before what makes net/http take the client for gone although it is
// there: ending its body. The end of its answer must still reach it.
func (g *guard) settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = true
}

// watch makes c the connection to cut; it fails when it is too late.
func (g *guard) watch(c *conn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn = c
	return g.cause
}

// ride makes l what is cut, and nothing that it came on; it fails when it is too late.
func (g *guard) ride(l *laneIn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn, g.lane = nil, l
	return g.cause
}

// begin marks that the client is about to see a status; it fails when the
// exchange was cut, and the status has to be another one.
func (g *guard) begin() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == nil {
		g.begun = true
	}
	return g.cause
}

func (g *guard) state() (cause error, begun bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause, g.begun
}
