package hop

import (
	"bufio"
	"net"
	"net/http"
	"sync"
)

// pieceSize is how much of an answer leaves at once.
const pieceSize = 64 << 10

var pieces = sync.Pool{New: func() any { p := make([]byte, 0, pieceSize); return &p }}

// gathered sends an answer of HTTP/1.1 in large pieces. A LIST is written item by item,
// and net/http sends 4 KiB at a time, each of which would cost a write here, a read, a
// flush to the client and a write there. What is flushed leaves at once. Like every
// ResponseWriter it is for one goroutine at a time.
type gathered struct {
	serverWriter
	held  *[]byte // of pieces, nil while nothing is held
	offer *laneOut
	lane  *laneOut // the offer if the body goes there, nil if not
	begun bool     // the head has left although the body goes elsewhere
}

// serveGathered serves a request of HTTP/1.1 by h, which gets a ResponseWriter that
// gathers. The body of an answer that may last goes to offer, unless that is nil.
func serveGathered(h func(http.ResponseWriter, *http.Request), w http.ResponseWriter, r *http.Request, offer *laneOut) {
	inner, ok := w.(serverWriter)
	if !ok {
		h(w, r)
		return
	}
	g := &gathered{serverWriter: inner, offer: offer}
	defer g.leave()
	h(g, r)
	_ = g.send() // a handler that panics wants no more to be sent
}

// Unwrap is for http.ResponseController.
func (g *gathered) Unwrap() http.ResponseWriter { return g.serverWriter }

// WriteHeader implements http.ResponseWriter.
func (g *gathered) WriteHeader(status int) {
	if g.offer != nil && status == http.StatusOK && len(g.Header()["Content-Length"]) == 0 && g.offer.open() {
		g.lane = g.offer
		g.Header()[trunkHeader] = []string{g.lane.name}
	}
	if status >= http.StatusOK {
		g.offer = nil
	}
	g.serverWriter.WriteHeader(status)
}

// leave ends what is on the lane.
func (g *gathered) leave() {
	if g.lane != nil {
		g.lane.end()
	}
}

// begin sends the head of an answer whose body goes to the lane.
func (g *gathered) begin() error {
	if g.lane == nil || g.begun {
		return nil
	}
	g.begun = true
	return http.NewResponseController(g.serverWriter).Flush()
}

// Write implements http.ResponseWriter.
func (g *gathered) Write(p []byte) (int, error) {
	if g.held != nil && len(*g.held)+len(p) > pieceSize {
		if err := g.send(); err != nil {
			return 0, err
		}
	}
	if len(p) >= pieceSize/2 && g.held == nil {
		return g.pass(p)
	}
	if g.held == nil {
		g.held = pieces.Get().(*[]byte)
	}
	*g.held = append(*g.held, p...)
	return len(p), nil
}

// send hands on what is held.
func (g *gathered) send() error {
	if g.held == nil {
		return nil
	}
	_, err := g.pass(*g.held)
	*g.held = (*g.held)[:0]
	pieces.Put(g.held)
	g.held = nil
	return err
}

// pass hands p on.
func (g *gathered) pass(p []byte) (int, error) {
	if g.lane == nil {
		return g.serverWriter.Write(p)
	}
	if err := g.begin(); err != nil {
		return 0, err
	}
	if err := g.lane.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush implements http.Flusher.
func (g *gathered) Flush() { _ = g.FlushError() }

// FlushError is what http.ResponseController calls.
func (g *gathered) FlushError() error {
	if err := g.send(); err != nil {
		return err
	}
	if g.lane != nil {
		return g.begin()
	}
	return http.NewResponseController(g.serverWriter).Flush()
}

// Hijack implements http.Hijacker.
func (g *gathered) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := g.send(); err != nil {
		return nil, nil, err
	}
	return g.serverWriter.Hijack()
}
