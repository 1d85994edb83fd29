package hop

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// On a unix socket TLS greets and leaves. Both ends prove who they are by the same
// handshake and certificates as on TCP, the server says that it admits the client, and
// what follows is plain: a connected unix socket leads to the process that was greeted
// and nowhere else, and nobody reads along.
//
//	client                                   server
//	  ------------ TLS 1.3 handshake ---------->
//	  <----- one record: the byte admitted -----
//	  ------ HTTP/1.1 in frames, from here -----

const admitted = 1

// greetServer proves who we are to the server at the other end of raw, and finds out
// whether it is the delegate and takes us.
func greetServer(ctx context.Context, raw net.Conn, config *tls.Config) error {
	t := tls.Client(&records{Conn: raw}, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	var word [1]byte
	if _, err := io.ReadFull(t, word[:]); err != nil || word[0] != admitted {
		return refusedCertificate(ctx, err)
	}
	return nil
}

// localListener is one of a unix socket.
type localListener struct {
	*peerListener
	config func(*peerConn) *tls.Config
}

// Accept implements net.Listener.
func (l localListener) Accept() (net.Conn, error) {
	c, err := l.peerListener.Accept()
	if err != nil {
		return nil, err
	}
	return newLocalConn(c.(*peerConn), l.config), nil
}

// localConn is the serving end of a connection on a unix socket. It greets when it is
// first used, on the goroutine that serves it.
type localConn struct {
	frames
	peer  *peerConn
	greet func() error
}

func newLocalConn(c *peerConn, config func(*peerConn) *tls.Config) *localConn {
	return &localConn{frames: frames{Conn: c}, peer: c, greet: sync.OnceValue(func() error {
		t := tls.Server(&records{Conn: c}, config(c))
		if err := t.Handshake(); err != nil {
			return fmt.Errorf("TLS handshake: %w", err)
		}
		_, err := t.Write([]byte{admitted})
		return err
	})}
}

// NetConn returns what is below, as that of a tls.Conn does.
func (c *localConn) NetConn() net.Conn { return c.peer }

// Read implements net.Conn.
func (c *localConn) Read(p []byte) (int, error) {
	if err := c.greet(); err != nil {
		return 0, err
	}
	return c.frames.Read(p)
}

// Write implements net.Conn.
func (c *localConn) Write(p []byte) (int, error) {
	if err := c.greet(); err != nil {
		return 0, err
	}
	return c.frames.Write(p)
}

// CloseWrite ends our half, for upgraded connections.
func (c *localConn) CloseWrite() error {
	if err := c.frames.CloseWrite(); err != nil {
		return err
	}
	return c.peer.CloseWrite()
}

// Close implements net.Conn.
func (c *localConn) Close() error {
	if c.peer.peer.Load() == nil {
		return c.peer.Close() // nobody was greeted
	}
	return c.frames.Close()
}

// records gives TLS no byte beyond the record that it asks for: what comes after the
// last one is not TLS.
type records struct {
	net.Conn
	header [5]byte // type, version, length
	begun  []byte  // what is left of header
	left   int     // what is left of the record behind it
}

// Read implements net.Conn.
func (r *records) Read(p []byte) (int, error) {
	if len(r.begun) == 0 && r.left == 0 {
		if _, err := io.ReadFull(r.Conn, r.header[:]); err != nil {
			return 0, err
		}
		r.begun, r.left = r.header[:], int(binary.BigEndian.Uint16(r.header[3:]))
	}
	if len(r.begun) > 0 {
		n := copy(p, r.begun)
		r.begun = r.begun[n:]
		return n, nil
	}
	n, err := r.Conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
