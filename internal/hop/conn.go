package hop

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// conn is a connection to the delegate. One exchange uses it at a time.
type conn struct {
	stream stream        // what is said: TLS on TCP, plain on a unix socket
	wire   *wire         // what carries it
	r      *bufio.Reader // of what the delegate says
	w      *bufio.Writer // flushed by who writes to it
	life   *life         // the delegate's, in which the connection was made
	epoch  int           // the pool's, in which it was begun

	received  atomic.Int64 // bytes of answers, of the current exchange
	idleSince time.Time
	fields    []field // memory for answer.fields
}

type stream interface {
	io.ReadWriter
	CloseWrite() error
}

// dial makes a connection within l, the life of the delegate. With a socket it is a unix
// socket if that can be had.
func dial(ctx context.Context, address, socket string, config *tls.Config, l *life) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	raw, err := reach(ctx, address, socket)
	if err != nil {
		return nil, errors.Join(context.Cause(l.ctx), err)
	}
	c, err := newConn(ctx, raw.(transport), config)
	if err != nil {
		raw.Close()
		return nil, errors.Join(context.Cause(l.ctx), err)
	}
	c.life = l
	return c, nil
}

func reach(ctx context.Context, address, socket string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		},
		Control: func(_, address string, sock syscall.RawConn) error {
			unpace(sock, address)
			return boundRetransmission(sock)
		},
	}
	if socket != "" {
		// Where a queue is full TCP waits and a unix socket does not.
		if raw, err := (&net.Dialer{}).DialContext(ctx, "unix", socket); err == nil {
			return raw, nil
		}
	}
	return d.DialContext(ctx, "tcp", address)
}

func newConn(ctx context.Context, raw transport, config *tls.Config) (*conn, error) {
	w, err := newWire(raw)
	if err != nil {
		return nil, err
	}
	c := &conn{wire: w}
	c.r = bufio.NewReader(c)
	if raw.LocalAddr().Network() == "unix" {
		f := &frames{Conn: w}
		c.stream, c.w = f, bufio.NewWriter(f)
		return c, greetServer(ctx, raw, config)
	}
	t := tls.Client(w, config)
	c.stream, c.w = t, bufio.NewWriter(t)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return c, c.awaitAdmission(ctx)
}

// awaitAdmission waits for the server's ticket (see Server.configFor). In TLS
// 1.3 the client is done with the handshake before the server has looked at
// its certificate; what is sent before the ticket may be sent to nobody.
func (c *conn) awaitAdmission(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.abort)()
	var one [1]byte
	c.wire.mode = readOnce
	_, err := c.stream.Read(one[:])
	c.wire.mode = readAlways
	if errors.Is(err, errNothingYet) {
		return nil
	}
	return refusedCertificate(ctx, err)
}

func refusedCertificate(ctx context.Context, err error) error {
	return fmt.Errorf("TLS handshake: the server did not take the certificate: %w", errors.Join(context.Cause(ctx), err))
}

// boundRetransmission gives up on a peer that acknowledges nothing. Keep-alive
// does not count while something is unacknowledged.
func boundRetransmission(sock syscall.RawConn) error {
	var failed error
	err := sock.Control(func(fd uintptr) {
		bound := keepAliveIdle + keepAliveCount*keepAliveInterval
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(bound.Milliseconds()))
	})
	return errors.Join(err, failed)
}

// begin starts the counts of an exchange.
func (c *conn) begin() {
	c.received.Store(0)
	c.wire.sent.Store(0)
}

// Read is what c.r reads from.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	if n > 0 {
		c.received.Add(int64(n))
	}
	return n, err
}

// sent tells whether anything may have left since begin.
func (c *conn) sent() bool { return c.wire.sent.Load() > 0 }

// alive tells whether an idle connection may be used: the delegate has neither
// closed it nor said anything nobody asked for. It asks the stream, because a
// farewell may already have been read along with the last answer.
func (c *conn) alive() bool {
	if c.r.Buffered() > 0 {
		return false
	}
	var one [1]byte
	c.wire.mode = readNever
	_, err := c.stream.Read(one[:])
	c.wire.mode = readAlways
	return errors.Is(err, errNothingYet)
}

// more tells whether so many bytes are here, or something is wrong, which is told by reading. It does not wait.
func (c *conn) more(bytes int) bool {
	c.wire.mode = readNever
	_, err := c.r.Peek(bytes)
	c.wire.mode = readAlways
	return !errors.Is(err, errNothingYet)
}

// truncated tells whether the end of the stream came without a farewell, TLS' or that
// of frames. A killed process' kernel ends its streams without.
func (c *conn) truncated() bool { return c.wire.ended.Load() }

// abort makes everybody who waits on c return. Any goroutine may call it.
func (c *conn) abort() { c.wire.Close() }

// closeWrite tells the delegate that no more is coming.
func (c *conn) closeWrite() error {
	return errors.Join(c.stream.CloseWrite(), c.wire.CloseWrite())
}

// transport is a TCP or a unix socket.
type transport interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// wire is the socket below the stream. It knows what left, and can be asked whether
// anything arrived.
type wire struct {
	transport
	sock  syscall.RawConn
	sent  atomic.Int64
	ended atomic.Bool // the peer's half is at its end
	mode  readMode    // set by who owns the conn

	// peek's arguments and results, so that probing allocates nothing.
	peek struct {
		buf []byte
		n   int
		err error
		do  func(fd uintptr) bool
	}
}

// readMode says when Read waits for something to arrive.
type readMode int

const (
	readAlways readMode = iota
	readOnce
	readNever
)

func newWire(raw transport) (*wire, error) {
	sock, err := raw.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{transport: raw, sock: sock}
	w.peek.do = func(fd uintptr) bool {
		w.peek.n, w.peek.err = unix.Read(int(fd), w.peek.buf)
		return true
	}
	return w, nil
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.transport.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

func (w *wire) Read(p []byte) (int, error) {
	switch w.mode {
	case readNever:
		return w.readNow(p)
	case readOnce:
		w.mode = readNever
	}
	n, err := w.transport.Read(p)
	if err == io.EOF {
		w.ended.Store(true)
	}
	return n, err
}

func (w *wire) readNow(p []byte) (int, error) {
	w.peek.buf = p
	err := w.sock.Read(w.peek.do)
	w.peek.buf = nil
	switch {
	case err != nil:
		return 0, err
	case w.peek.err == unix.EAGAIN || w.peek.err == unix.EINTR:
		return 0, errNothingYet
	case w.peek.err != nil:
		return 0, w.peek.err
	case w.peek.n == 0:
		w.ended.Store(true)
		return 0, io.EOF
	}
	return w.peek.n, nil
}

// nothingYet is a net.Error that crypto/tls does not take for the end of the
// connection.
type nothingYet struct{}

var errNothingYet net.Error = nothingYet{}

func (nothingYet) Error() string   { return "nothing to read yet" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }
