package hop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"golang.org/x/net/http/httpguts"
)

// served is a connection of HTTP/1.1 at its serving end. Its requests are served one after
// the other, on one goroutine.
//
// net/http's server could do it. But for a small answer it costs as much as all else that a
// hop does: a goroutine and a read for each request, to find out whether the peer is gone,
// four deadlines, and two buffers that do not fit one another. Here the peer is looked for
// only when a request takes long (see lookout), a deadline is set when the last one is old,
// and an answer that is whole leaves in one write.
type served struct {
	lookout // its conn is a *tls.Conn, or a *localConn on a unix socket
	server  *Server
	peer    *peerConn
	state   *tls.ConnectionState // nil on a unix socket
	remote  string
	ctx     context.Context // that of every request is made of
	r       *bufio.Reader   // of what the peer says
	room    int64           // bytes that may be read: a head has a limit
	now     *answerWriter   // what is served, or was last: who took the connection over reads for it
}

func newServed(s *Server, peer *peerConn, conn net.Conn) *served {
	ctx := context.WithValue(context.Background(), http.ServerContextKey, s.http)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, conn.LocalAddr())
	c := &served{
		server: s, peer: peer, remote: conn.RemoteAddr().String(),
		ctx: context.WithValue(ctx, peerKey{}, peer), room: math.MaxInt64,
	}
	if t, ok := conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.state = &state
	}
	c.r = bufio.NewReader(c)
	c.lookout.of(conn, &s.lookouts)
	return c
}

// serve returns when there is nothing more to serve. It closes the connection, unless
// somebody took it over.
func (c *served) serve() {
	c.among.add(&c.lookout)
	var w *answerWriter
	defer func() {
		defer c.among.remove(&c.lookout)
		if problem := recover(); problem != nil && problem != http.ErrAbortHandler {
			c.server.http.ErrorLog.Printf("http: panic serving %s: %v\n%s", c.remote, problem, debug.Stack())
		}
		if w != nil {
			w.cancel()
			if w.hijacked {
				return
			}
			if w.body != nil && !w.over {
				w.body.awaitEnd(restPatience) // a reset would take away what the peer was sent
			}
		}
		c.end()
		c.conn.Close()
		c.peer.turn.take(over)
	}()
	for {
		r, err := c.readRequest()
		if err != nil {
			c.refuse(err)
			return
		}
		if w = newAnswer(c, r); w.body == nil {
			c.watch(w)
		}
		c.server.http.Handler.ServeHTTP(w, r)
		w.cancel()
		if w.hijacked || !w.finish() || !c.await() {
			return
		}
		w, c.now = nil, nil // who waits holds nothing of what is over
	}
}

// await has the next request come, and tells whether it may.
func (c *served) await() bool {
	if !c.peer.turn.take(awaiting) {
		return false
	}
	if c.server.draining.Load() {
		c.peer.turn.dismiss(c.peer)
		return false
	}
	return true
}

// badRequest is a request that is not served, and the status that says why.
type badRequest struct {
	status int
	why    string
}

func (b *badRequest) Error() string { return b.why }

// errNoRequest tells that the peer has not asked for anything and will not.
var errNoRequest = errors.New("no request")

// readRequest waits for a request and reads its head.
func (c *served) readRequest() (*http.Request, error) {
	c.patience(serverIdleTimeout)
	if _, err := c.r.Peek(1); err != nil {
		return nil, errNoRequest
	}
	if !c.peer.turn.take(serving) {
		return nil, errNoRequest // farewell was said
	}
	if !c.holdsHead() {
		c.bound(readHeaderTimeout)
	}
	c.room = maxRequestHead
	r, err := http.ReadRequest(c.r)
	exceeded := c.room <= 0
	c.room = math.MaxInt64
	switch {
	case exceeded:
		return nil, &badRequest{http.StatusRequestHeaderFieldsTooLarge, "the head of the request is too large"}
	case errors.As(err, new(net.Error)), err == io.EOF, err == io.ErrUnexpectedEOF:
		return nil, errNoRequest
	case err != nil:
		return nil, &badRequest{http.StatusBadRequest, err.Error()}
	}
	return r, check(r)
}

// holdsHead tells whether the whole head of a request is here.
func (c *served) holdsHead() bool {
	here, _ := c.r.Peek(c.r.Buffered())
	return bytes.Contains(here, []byte("\r\n\r\n"))
}

// check refuses what http.ReadRequest lets through and net/http's server does not.
func check(r *http.Request) error {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 {
		return &badRequest{http.StatusHTTPVersionNotSupported, "HTTP/1.1 is spoken here, not " + r.Proto}
	}
	if !httpguts.ValidHostHeader(r.Host) {
		return &badRequest{http.StatusBadRequest, "malformed Host"}
	}
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return &badRequest{http.StatusBadRequest, "malformed header name"}
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return &badRequest{http.StatusBadRequest, "malformed header value"}
			}
		}
	}
	if e := r.Header["Expect"]; len(e) > 0 && !expectsContinue(r) {
		return &badRequest{http.StatusExpectationFailed, "nothing can be expected but 100-continue"}
	}
	return nil
}

func expectsContinue(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

// refuse says why a request is not served.
func (c *served) refuse(err error) {
	var bad *badRequest
	if !errors.As(err, &bad) {
		return
	}
	text := fmt.Sprintf("%d %s: %s", bad.status, http.StatusText(bad.status), bad.why)
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	_, _ = fmt.Fprintf(c.conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		bad.status, http.StatusText(bad.status), len(text), text)
	c.linger(nil)
}

// linger lets the peer read what it was told before the connection is closed: closing it
// with something unread would take that away. It reads itself when others are done with that.
func (c *served) linger(others <-chan struct{}) {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
	if others != nil {
		<-others
	}
	_, _ = io.Copy(io.Discard, c.conn)
}

// release frees the connection for whoever takes it over.
func (c *served) release() error {
	if c.peek() {
		if _, err := c.r.Peek(c.r.Buffered() + 1); err != nil {
			return err
		}
	}
	return c.conn.SetDeadline(time.Time{})
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// Read is what c.r reads from. What it fails for ends the request, too, that the connection was
// taken over from: upstream's WebSocket goes by that. Before, a deadline is no end of the peer's.
func (c *served) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, io.EOF
	}
	if b, ok := c.take(); ok {
		p[0] = b
		c.room--
		return 1, nil
	}
	n, err := c.conn.Read(p[:min(int64(len(p)), c.room)])
	c.room -= int64(n)
	if err != nil && c.now != nil && (c.now.hijacked || !isTimeout(err)) {
		c.now.gone()
	}
	return n, err
}
