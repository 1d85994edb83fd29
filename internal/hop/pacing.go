package hop

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// unpace has TCP to address, where that is this machine, send what the other end takes. Nothing is lost or queued on the
// way, but a machine's default may be made for its links to others: bbr paces what it sends by what it has seen delivered,
// and every ten seconds sends next to nothing for a moment. Every kernel has reno and lets everybody choose it (tcp(7));
// it does neither. Where it cannot be had nothing is wrong, only slower.
func unpace(sock syscall.RawConn, address string) {
	if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().Unmap().IsLoopback() {
		_ = sock.Control(func(fd uintptr) { _ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") })
	}
}

// unpaced is c, accepted, after unpace.
func unpaced(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		if sock, err := tcp.SyscallConn(); err == nil {
			unpace(sock, c.RemoteAddr().String())
		}
	}
	return c
}
