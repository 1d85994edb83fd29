package etcd

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Reservation holds a port for the life of the supervisor, while etcd, which
// listens on it, may end and start again: the tiers know etcd by its address,
// and nobody must be able to take its place meanwhile.
//
// It is a bound socket that never listens, with SO_REUSEPORT and without
// SO_REUSEADDR. Linux then lets others bind the port only if they ask for
// SO_REUSEPORT, too, and are the user that the socket belongs to; connections go
// to listening sockets alone.
type Reservation struct {
	fd      int
	address netip.AddrPort
}

// Reserve reserves a free port on the loopback address host. Call Close when
// etcd has ended for good.
func Reserve(host string) (*Reservation, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("cannot reserve a port for etcd: %q is not a loopback address", host)
	}
	fd, err := bindReusable(ip)
	if err != nil {
		return nil, fmt.Errorf("cannot reserve a port for etcd on %s: %w", host, err)
	}
	port, err := boundPort(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot reserve a port for etcd on %s: %w", host, err)
	}
	return &Reservation{fd: fd, address: netip.AddrPortFrom(ip, port)}, nil
}

// Address is the reserved host:port.
func (r *Reservation) Address() string {
	return net.JoinHostPort(r.address.Addr().String(), strconv.Itoa(int(r.address.Port())))
}

// Give makes the port that of another user, as whom etcd is to run.
func (r *Reservation) Give(uid, gid uint32) error {
	if err := unix.Fchown(r.fd, int(uid), int(gid)); err != nil {
		return fmt.Errorf("cannot give the port of etcd to user %d: %w", uid, err)
	}
	return nil
}

// Close gives the port back.
func (r *Reservation) Close() error { return unix.Close(r.fd) }

func bindReusable(ip netip.Addr) (fd int, err error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: ip.As16()})
	if ip.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Addr: ip.As4()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err == nil {
		err = unix.Bind(fd, address)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func boundPort(fd int) (uint16, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port), nil
	case *unix.SockaddrInet6:
		return uint16(a.Port), nil
	default:
		return 0, fmt.Errorf("unexpected address %T", name)
	}
}
