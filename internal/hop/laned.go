package hop

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// serveWatch has a goroutine of its own answer r by h, and returns when the connection of r is free: when the answer
// is over, or when its head is there and the body goes to lane.
func (s *Server) serveWatch(h http.Handler, w serverWriter, r *http.Request, lane *laneOut) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	unlink := context.AfterFunc(r.Context(), func() { cancel(context.Cause(r.Context())) })
	free := make(chan any, 1) // what h panicked with, nil if it did not
	lane.cancel = cancel
	a := &laned{serverWriter: w, offer: lane, leave: func() { unlink(); free <- nil }}
	s.watches.Add(1)
	go func() {
		defer s.watches.Done()
		defer cancel(nil)
		defer func() {
			problem := recover()
			if a.lane == nil {
				free <- problem
				return
			}
			if problem != nil && problem != http.ErrAbortHandler {
				s.http.ErrorLog.Printf("http: panic serving a watch: %v\n%s", problem, debug.Stack())
			}
			a.lane.end(problem == nil)
		}()
		serveGathered(h, a, r.WithContext(ctx))
	}()
	if problem := <-free; problem != nil {
		panic(problem)
	}
}

// serverWriter is what the writers of a Server are for HTTP/1.1, and what k8s.io/apiserver
// asks of those it wraps.
type serverWriter interface {
	http.ResponseWriter
	http.Flusher
	http.Hijacker
	//lint:ignore SA1019 k8s.io/apiserver takes a writer without it for one that cannot be flushed.
	http.CloseNotifier
}

// laned is the answer to a watch. Its body goes to the lane that was offered if it may last. From then on what is below is
// not touched: it is of a connection that serves others.
type laned struct {
	serverWriter
	offer *laneOut
	leave func()   // lets the connection go
	lane  *laneOut // nil while the answer has its connection

	// mu is held by those who set deadlines, which any goroutine may, and while serverWriter is replaced.
	mu sync.Mutex
}

// WriteHeader implements http.ResponseWriter.
func (a *laned) WriteHeader(status int) {
	h := a.Header()
	if a.lane == nil && a.offer != nil && status == http.StatusOK && len(h["Content-Length"]) == 0 && len(h["Trailer"]) == 0 && a.offer.open() {
		a.lane = a.offer
		h[trunkHeader] = []string{a.lane.name}
		h["Content-Length"] = []string{"0"}
		delete(h, "Transfer-Encoding") // as upstream's watches say of themselves
		a.serverWriter.WriteHeader(status)
		a.mu.Lock()
		a.serverWriter = &laneWriter{lane: a.lane, header: h.Clone()}
		a.mu.Unlock()
		a.leave()
		return
	}
	if status >= http.StatusOK {
		a.offer = nil
	}
	a.serverWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *laned) Write(p []byte) (int, error) {
	a.offer = nil // whoever gives no status has it given here
	return a.serverWriter.Write(p)
}

// Flush implements http.Flusher.
func (a *laned) Flush() { _ = a.FlushError() }

// There is no Unwrap: what is below now may serve another request in a moment.

// SetReadDeadline is what http.ResponseController calls.
func (a *laned) SetReadDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return http.NewResponseController(a.serverWriter).SetReadDeadline(t)
}

// SetWriteDeadline is what http.ResponseController calls. On a lane there are none.
func (a *laned) SetWriteDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return http.NewResponseController(a.serverWriter).SetWriteDeadline(t)
}

// EnableFullDuplex is what http.ResponseController calls.
func (a *laned) EnableFullDuplex() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return http.NewResponseController(a.serverWriter).EnableFullDuplex()
}

// FlushError is what http.ResponseController calls.
func (a *laned) FlushError() error {
	a.offer = nil // as in Write
	return http.NewResponseController(a.serverWriter).Flush()
}

// laneWriter is the rest of an answer on a lane.
type laneWriter struct {
	lane   *laneOut
	header http.Header
}

// Header implements http.ResponseWriter. It has left already.
func (w *laneWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. The first status counts.
func (w *laneWriter) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (w *laneWriter) Write(p []byte) (int, error) { return w.lane.write(p) }

// Flush implements http.Flusher: whatever is written is on its way.
func (w *laneWriter) Flush() {}

// Hijack implements http.Hijacker.
func (w *laneWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

// CloseNotify implements http.CloseNotifier.
func (w *laneWriter) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	go func() {
		select {
		case <-w.lane.gone:
		case <-w.lane.trunk.over:
		case <-w.lane.ended:
			return
		}
		gone <- true
	}()
	return gone
}
