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
	held *[]byte // of pieces, nil while nothing is held
}

// serveGathered serves a request of HTTP/1.1 by h, which gets a ResponseWriter that
// gathers.
func serveGathered(h func(http.ResponseWriter, *http.Request), w http.ResponseWriter, r *http.Request) {
	inner, ok := w.(serverWriter)
	if !ok {
		h(w, r)
		return
	}
	g := &gathered{serverWriter: inner}
	h(g, r)
	_ = g.send() // a handler that panics wants no more to be sent
}

// Unwrap is for http.ResponseController.
func (g *gathered) Unwrap() http.ResponseWriter { return g.serverWriter }

// Write implements http.ResponseWriter.
func (g *gathered) Write(p []byte) (int, error) {
	if g.held != nil && len(*g.held)+len(p) > pieceSize {
		if err := g.send(); err != nil {
			return 0, err
		}
	}
	if len(p) >= pieceSize/2 && g.held == nil {
		return g.serverWriter.Write(p)
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
	_, err := g.serverWriter.Write(*g.held)
	*g.held = (*g.held)[:0]
	pieces.Put(g.held)
	g.held = nil
	return err
}

// Flush implements http.Flusher.
func (g *gathered) Flush() { _ = g.FlushError() }

// FlushError is what http.ResponseController calls.
func (g *gathered) FlushError() error {
	if err := g.send(); err != nil {
		return err
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
