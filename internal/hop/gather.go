package hop

import (
	"bufio"
	"net"
	"net/http"
)

// gathered sends the events of a watch in as large pieces as are flushed: an event is written
// in parts. Like every ResponseWriter it is for one goroutine at a time.
type gathered struct {
	serverWriter
	held *piece // nil while nothing is held
}

// serveGathered serves a request by h, which gets a ResponseWriter that gathers.
func serveGathered(h http.Handler, w serverWriter, r *http.Request) {
	g := &gathered{serverWriter: w}
	h.ServeHTTP(g, r)
	_ = g.send() // a handler that panics wants no more to be sent
}

// Unwrap is for http.ResponseController.
func (g *gathered) Unwrap() http.ResponseWriter { return g.serverWriter }

// Write implements http.ResponseWriter.
func (g *gathered) Write(p []byte) (int, error) {
	if g.held != nil && len(g.held.b)+len(p) > pieceSize {
		if err := g.send(); err != nil {
			return 0, err
		}
	}
	if len(p) >= pieceSize/2 && g.held == nil {
		return g.serverWriter.Write(p)
	}
	if g.held == nil {
		g.held = pieces.Get().(*piece)
	}
	g.held.b = append(g.held.b, p...)
	return len(p), nil
}

// send hands on what is held.
func (g *gathered) send() error {
	if g.held == nil {
		return nil
	}
	_, err := g.serverWriter.Write(g.held.b)
	g.held.putIn(&pieces)
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
