package etcd

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func listenPlainly(address string) (net.Listener, error) { return net.Listen("tcp", address) }

func listenReusing(t *testing.T, address string) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		return errors.Join(conn.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	return c.Listen(context.Background(), "tcp", address)
}

func TestOthersCannotTakeAReservedPort(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		r, err := Reserve(host)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if l, err := listenPlainly(r.Address()); err == nil {
			l.Close()
			t.Errorf("%s: another could listen", r.Address())
		}
		for range 2 { // etcd may come and go
			l, err := listenReusing(t, r.Address())
			if err != nil {
				t.Fatalf("etcd cannot listen: %v", err)
			}
			if other, err := listenPlainly(r.Address()); err == nil {
				other.Close()
				t.Errorf("%s: another could listen beside etcd", r.Address())
			}
			conn, err := net.Dial("tcp", r.Address())
			if err != nil {
				t.Fatalf("the reservation swallows connections: %v", err)
			}
			conn.Close()
			l.Close()
		}
		if conn, err := net.Dial("tcp", r.Address()); err == nil {
			conn.Close()
			t.Error("a reserved port without etcd takes connections")
		}
	}
}

func TestAReservationEnds(t *testing.T) {
	r, err := Reserve("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	l, err := listenPlainly(r.Address())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestOnlyLoopbackIsReserved(t *testing.T) {
	for _, host := range []string{"0.0.0.0", "::", "localhost", "192.0.2.1", ""} {
		if r, err := Reserve(host); err == nil {
			r.Close()
			t.Errorf("%q was reserved", host)
		}
	}
}

// The port stays etcd's while etcd is away.
func TestEtcdRestartsOnItsReservedPort(t *testing.T) {
	r := newRig(t)
	for range 2 {
		c := r.start(t, "plain")
		c.kill()
		if l, err := listenPlainly(r.options.ClientAddress); err == nil {
			l.Close()
			t.Fatal("another took the port of etcd")
		}
	}
}
