package hop

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// handshakeTimeout bounds how long a peer may take to show who it is.
const handshakeTimeout = readHeaderTimeout

// maxAcceptPause is the longest pause behind an accept that failed, as for want of files.
const maxAcceptPause = time.Second

// accept has serve take each connection of l on a goroutine of its own, until l is closed.
func accept(l *peerListener, serve func(*peerConn)) error {
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		//lint:ignore SA1019 as net/http does: there is no other way to tell.
		if temporary, ok := errors.AsType[net.Error](err); ok && temporary.Temporary() {
			pause = min(max(2*pause, 5*time.Millisecond), maxAcceptPause)
			time.Sleep(pause)
			continue
		}
		if err != nil {
			return err
		}
		pause = 0
		go func() {
			peer := c.(*peerConn)
			defer func() { // whoever is not known yet must not end the process
				if problem := recover(); problem != nil {
					klog.ErrorS(nil, "Panic greeting a peer", "peer", peer.RemoteAddr(), "problem", problem, "stack", string(debug.Stack()))
					peer.Close()
					peer.turn.take(over)
				}
			}()
			serve(peer)
		}()
	}
}

// greetTCP finds out who the peer is and serves it.
func (s *Server) greetTCP(c *peerConn) {
	t := tls.Server(c, s.tlsConfig())
	c.serveOn(t)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		s.turnAway(c, err)
		return
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		s.streams.hand(t)
		return
	}
	newServed(s, c, t).serve()
}

// greetLocal is greetTCP on a unix socket.
func (s *Server) greetLocal(c *peerConn) {
	l := newLocalConn(c, s.greetingOf)
	c.serveOn(l)
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := l.greet(); err != nil {
		s.turnAway(c, err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	newServed(s, c, l).serve()
}

// turnAway closes the connection of a peer that is not admitted.
func (s *Server) turnAway(c *peerConn, why error) {
	if plain, ok := errors.AsType[tls.RecordHeaderError](why); ok && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader[:]) {
		_ = plain.Conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
		_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
	s.http.ErrorLog.Printf("http: TLS handshake error from %s: %v", c.RemoteAddr(), why)
	c.Close()
	c.turn.take(over)
}

// looksLikeHTTP tells whether what came in place of a record of TLS is the begin of a request.
func looksLikeHTTP(record []byte) bool {
	switch string(record) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// handover is the listener of those connections that somebody else accepted.
type handover struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newHandover(addr net.Addr) *handover {
	closed := make(chan struct{})
	return &handover{addr: addr, conns: make(chan net.Conn), closed: closed, close: sync.OnceFunc(func() { close(closed) })}
}

// hand gives c away.
func (h *handover) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error { h.close(); return nil }

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.addr }
