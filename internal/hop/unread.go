package hop

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
)

// serveBody serves a request of HTTP/1.1 that has a body.
//
// In full duplex the answer leaves at once, body read or not. Without it
// net/http reads up to 256 KiB of the body before it sends the first byte of an
// answer, which a client of the head that speaks HTTP/2 would notice.
//
// But in full duplex net/http reads what the handler left of the body only when
// it is done with the request, and trips over its own watch on the connection:
// that is closed, behind a whole answer that did not say so, and a forwarder may
// have sent the next write on it by then. So the rest is read here, behind the
// answer, while the request still is one. An answer whose end only net/http can
// send, in chunks, must not wait for that; it says that the connection closes.
func (s *Server) serveBody(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	inner, ok := w.(serverWriter)
	if !ok {
		s.config.Handler.ServeHTTP(w, r)
		return
	}
	// net/http looks at the Body of its own request, which must stay its own.
	own := *r
	body := &watchedBody{ReadCloser: r.Body}
	own.Body = body
	a := &withheld{serverWriter: inner, body: body, head: r.Method == http.MethodHead}
	s.config.Handler.ServeHTTP(a, &own)
	if a.hijacked || body.read.Load() {
		return
	}
	if a.finish(); a.closes {
		return
	}
	// A forwarder that sent more than this does not use the connection again.
	_, _ = io.CopyN(io.Discard, r.Body, maxReusedBody+1)
}

// watchedBody knows whether it was read to its end.
type watchedBody struct {
	io.ReadCloser
	read atomic.Bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.read.Store(true)
	}
	return n, err
}

// serverWriter is what net/http's writers for HTTP/1.1 are, and what
// k8s.io/apiserver asks of those it wraps.
type serverWriter interface {
	http.ResponseWriter
	http.Flusher
	http.Hijacker
	//lint:ignore SA1019 k8s.io/apiserver takes a writer without it for one that cannot be flushed.
	http.CloseNotifier
}

// maxWithheld is how much net/http itself holds back to find out whether it is
// all.
const maxWithheld = 2048

// withheld holds a small answer to a body that was not read back until it is
// whole, so that flushing it does not make chunks of what net/http would have
// sent with its length. Like every ResponseWriter it is for one goroutine at a
// time.
type withheld struct {
	serverWriter
	body *watchedBody
	head bool // the request is a HEAD

	passing  bool        // nothing is held back, now and from here on
	closes   bool        // the answer says that the connection ends with it
	status   int         // held back, 0 if none is
	header   http.Header // as it was when the status was given
	held     []byte
	hijacked bool
}

// Unwrap is for http.ResponseController.
func (a *withheld) Unwrap() http.ResponseWriter { return a.serverWriter }

// WriteHeader implements http.ResponseWriter.
func (a *withheld) WriteHeader(status int) {
	interim := status < 200 && status != http.StatusSwitchingProtocols
	switch {
	case interim || a.passing:
		a.serverWriter.WriteHeader(status)
	case a.status != 0: // the first one counts
	case a.body.read.Load(), a.endsByItself(status):
		a.passing = true
		a.serverWriter.WriteHeader(status)
	default:
		a.status, a.header = status, a.Header().Clone()
		if len(a.header["Transfer-Encoding"]) > 0 || len(a.header["Trailer"]) > 0 {
			_ = a.release()
		}
	}
}

// endsByItself tells whether the end of the answer is known from its head.
func (a *withheld) endsByItself(status int) bool {
	return status < 200 || status == http.StatusNoContent || status == http.StatusNotModified ||
		len(a.Header()["Content-Length"]) > 0
}

// Write implements http.ResponseWriter.
func (a *withheld) Write(p []byte) (int, error) {
	if a.status == 0 && !a.passing {
		a.WriteHeader(http.StatusOK)
	}
	if !a.passing && len(a.held)+len(p) <= maxWithheld {
		a.held = append(a.held, p...)
		return len(p), nil
	}
	if err := a.release(); err != nil {
		return 0, err
	}
	return a.serverWriter.Write(p)
}

// Flush implements http.Flusher.
func (a *withheld) Flush() { _ = a.FlushError() }

// FlushError is what http.ResponseController calls.
func (a *withheld) FlushError() error {
	if a.status == 0 && !a.passing {
		a.WriteHeader(http.StatusOK)
	}
	if err := a.release(); err != nil {
		return err
	}
	return http.NewResponseController(a.serverWriter).Flush()
}

// Hijack implements http.Hijacker.
func (a *withheld) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, buffered, err := a.serverWriter.Hijack()
	a.hijacked = err == nil
	a.passing = a.passing || a.hijacked
	return c, buffered, err
}

// release hands on what is held back.
func (a *withheld) release() error {
	if a.passing {
		return nil
	}
	a.passing = true
	if len(a.header["Content-Length"]) == 0 && !a.body.read.Load() {
		a.closes = true
		a.header["Connection"] = []string{"close"}
	}
	now := a.Header()
	later := now.Clone()
	replace(now, a.header)
	a.serverWriter.WriteHeader(a.status)
	replace(now, later) // trailers may be in it
	if len(a.held) == 0 {
		return nil
	}
	_, err := a.serverWriter.Write(a.held)
	return err
}

func replace(h, by http.Header) {
	clear(h)
	for name, values := range by {
		h[name] = values
	}
}

// finish sends the answer of a handler that has returned.
func (a *withheld) finish() {
	if a.status == 0 && !a.passing {
		a.WriteHeader(http.StatusOK)
	}
	// As net/http does: a HEAD without a word says nothing of the length.
	if !a.passing && (len(a.held) > 0 || !a.head) {
		a.header["Content-Length"] = []string{strconv.Itoa(len(a.held))}
	}
	_ = a.FlushError()
}
