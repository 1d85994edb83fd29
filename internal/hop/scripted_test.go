package hop

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"triptych.dev/triptych/internal/tier"
)

// scripted is a delegate that does on each connection what the test says, down
// to the byte.
type scripted struct {
	ca      *authority
	address string
	count   atomic.Int32 // connections so far
}

// startScripted calls script for each connection, n counting from 1, and closes
// the connection without a farewell when it returns.
func startScripted(t testing.TB, script func(c *tls.Conn, n int)) *scripted {
	t.Helper()
	s := &scripted{ca: newAuthority(t)}
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	s.address = l.Addr().String()
	config := &tls.Config{Certificates: []tls.Certificate{s.ca.serving(tier.Core)}, ClientAuth: tls.RequireAnyClientCert}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer raw.Close()
				c := tls.Server(&corked{Conn: raw}, config)
				if c.Handshake() == nil {
					script(c, int(s.count.Add(1)))
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return s
}

func (s *scripted) front(t testing.TB, change func(*ForwarderConfig)) *front {
	t.Helper()
	f := newTestForwarder(t, s.ca, s.address, change)
	return &front{Server: startFront(t, f), forwarder: f}
}

// readRequest reads one request, body and all.
func readRequest(t testing.TB, r *bufio.Reader) *http.Request {
	req, err := http.ReadRequest(r)
	if err != nil {
		t.Errorf("the delegate cannot read a request: %v", err)
		return nil
	}
	return req
}

// corked can hold back what is written, to send it in one piece.
type corked struct {
	net.Conn
	in   bool
	held []byte
}

func (c *corked) Write(p []byte) (int, error) {
	if !c.in {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

func (c *corked) cork() { c.in = true }

func (c *corked) uncork() error {
	c.in = false
	if err := c.SetWriteDeadline(time.Time{}); err != nil { // CloseWrite sets one
		return err
	}
	_, err := c.Conn.Write(c.held)
	return err
}
