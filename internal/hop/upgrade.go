package hop

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// upgrade hands the client's connection and the delegate's to one another. The
// delegate has switched protocols, so there is no way back: whatever fails
// from here on breaks the client's connection.
func (x *exchange) upgrade(c *conn, a *answer) error {
	if err := x.checkProtocol(a); err != nil {
		return err
	}
	if x.sender != nil {
		if x.sender.done == nil || x.sender.early() {
			return errors.New("the delegate switched protocols before it had the body")
		}
		<-x.sender.done
	}
	if err := x.guard.begin(); err != nil {
		return err
	}
	client, buffered, err := x.guard.client.Hijack()
	if err != nil {
		return fmt.Errorf("cannot take over the client's connection: %w", err)
	}
	defer client.Close()
	// From here on the connection's own end is what ends the exchange; the
	// request's context and bound are over with the answer.
	if !x.guard.stop() {
		return errGone
	}
	defer x.forwarder.pool.discard(c)
	if err := switchProtocols(client, a); err != nil {
		return err
	}
	tunnel(client, buffered.Reader, c, x.forwarder.tunnelLinger)
	return nil
}

// checkProtocol refuses a protocol that the client did not offer.
func (x *exchange) checkProtocol(a *answer) error {
	chosen := a.value("Upgrade")
	for _, offered := range x.r.Header["Upgrade"] {
		for protocol := range strings.SplitSeq(offered, ",") {
			if strings.EqualFold(strings.TrimSpace(protocol), chosen) {
				return nil
			}
		}
	}
	return fmt.Errorf("the delegate switched to %q, which nobody asked for", chosen)
}

func (a *answer) value(name string) string {
	for _, f := range a.fields {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// switchProtocols says what the delegate said and no more: a server that takes
// a connection over says nothing of what its filters wanted to say, neither does
// the one behind us, and a client that compares must not find our own.
func switchProtocols(client net.Conn, a *answer) error {
	_ = client.SetDeadline(time.Time{})
	h := http.Header{}
	setFields(h, a)
	w := bufio.NewWriter(client)
	w.WriteString("HTTP/1.1 " + strconv.Itoa(a.status) + " " + http.StatusText(a.status) + "\r\n")
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", a.value("Upgrade"))
	delete(h, "Content-Length")
	if err := h.Write(w); err != nil {
		return err
	}
	w.WriteString("\r\n")
	return w.Flush()
}

// tunnel copies both ways until both have ended, or one has failed. An end of
// one direction is passed on and leaves the other open, but a client may go on
// talking to a delegate that has finished for no longer than linger: there is
// no telling whether the delegate still listens.
func tunnel(client net.Conn, fromClient *bufio.Reader, c *conn, linger time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if pass(c.stream, fromClient, client) != nil || c.closeWrite() != nil {
			c.abort()
		}
	}()
	defer func() { <-done }()
	if pass(client, c.r, wholeStream{c}) != nil || closeWrite(client) != nil {
		abort(client)
		return
	}
	defer time.AfterFunc(linger, func() { abort(client) }).Stop()
	<-done
}

// pass copies what r has buffered and then the rest of its source.
func pass(to io.Writer, r *bufio.Reader, source io.Reader) error {
	if err := drain(to, r); err != nil {
		return err
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(onlyWriter{to}, onlyReader{source}, buf[:])
	return err
}

func drain(w io.Writer, r *bufio.Reader) error {
	p, _ := r.Peek(r.Buffered())
	if len(p) == 0 {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// onlyReader and onlyWriter hide what else a connection can do, so that the
// buffer is used.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// wholeStream ends with an error if the delegate was killed.
type wholeStream struct{ c *conn }

func (s wholeStream) Read(p []byte) (int, error) {
	n, err := s.c.Read(p)
	if err == io.EOF && s.c.truncated() {
		err = errTruncated
	}
	return n, err
}

// closeWrite ends our half of a client's connection.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// abort closes a client's connection as a crash would, without TLS' farewell.
func abort(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		t.NetConn().Close()
	}
	c.Close()
}
