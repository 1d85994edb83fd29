package sshaccess

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// dialTCP connects to a server that may hold a small packet back until the one before
// is acknowledged, as OpenSSH's does but for terminals. Linux takes 40 ms to
// acknowledge what it has no answer to, so each read here acknowledges at once: an
// exec would take five times as long.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &quickConn{tcp, raw}, nil
}

type quickConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

// Read implements net.Conn. The option lasts until the kernel thinks better of it.
func (c *quickConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 {
		_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
	return n, err
}
