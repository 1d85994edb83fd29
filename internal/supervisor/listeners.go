package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor/options"
)

// socket is a listening socket that outlives the processes which serve it: while
// its tier restarts, callers wait in its backlog instead of being refused.
type socket struct {
	file    *os.File
	address *net.TCPAddr
}

// refuse has clients be refused, as where nobody listens, instead of waiting for a process that does not come.
// Those who wait are broken off. Another program can take the address meanwhile.
func (s *socket) refuse() error {
	return s.control("refuse connections", func(fd int) error {
		if err := unix.Shutdown(fd, unix.SHUT_RD); !errors.Is(err, unix.ENOTCONN) { // it refuses already
			return err
		}
		return nil
	})
}

// accept ends refuse.
func (s *socket) accept() error {
	return s.control("accept connections again", func(fd int) error {
		at, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, at); err != nil && !errors.Is(err, unix.EINVAL) { // it still is bound
			return err
		}
		return unix.Listen(fd, maxBacklog)
	})
}

func (s *socket) control(what string, f func(fd int) error) error {
	raw, err := s.file.SyscallConn()
	if err == nil {
		if failed := raw.Control(func(fd uintptr) { err = f(int(fd)) }); failed != nil {
			err = failed
		}
	}
	if err != nil {
		return fmt.Errorf("cannot %s at %s: %w", what, s.address, err)
	}
	return nil
}

// maxBacklog is more than the kernel grants.
const maxBacklog = 1<<16 - 1

// sockopts sets options of a socket before it is bound.
type sockopts func(network, address string, c syscall.RawConn) error

// listen opens a socket.
func listen(address string, set sockopts) (*socket, error) {
	l, err := listenTCP(address, set)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	return &socket{file: f, address: l.Addr().(*net.TCPAddr)}, nil
}

// listenTCP leaves off multipath TCP, which Go would choose: sandboxes have no
// rules for it.
func listenTCP(address string, set sockopts) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: set}
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

func listenPublic(o *options.Options) (*socket, error) {
	address := net.JoinHostPort(o.BindAddress.String(), strconv.Itoa(o.SecurePort))
	s, err := listen(address, sharing(o.Forwarded))
	if err != nil {
		return nil, cannotListen(err, address, "secure-port", "bind-address", " (0 picks a free one)")
	}
	return s, nil
}

// cannotListen says what to do about an address that cannot be had, by the names
// of the flags that set it. hint is what there is to add about the port. A port
// may become free and an address may come up, so only what is forbidden or makes
// no sense is a mistake in the configuration.
func cannotListen(err error, address, port, bind, hint string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return takenError{fmt.Errorf("cannot listen on %s: the port is taken: stop who has it, or choose another --%s%s", address, port, hint)}
	case errors.Is(err, syscall.EACCES):
		return process.ConfigurationError{Err: fmt.Errorf("cannot listen on %s: only root may: choose a --%s above 1023", address, port)}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: this machine has no such address: choose another --%s", address, bind)
	}
	return fmt.Errorf("cannot listen on --%s and --%s: %w", bind, port, err)
}

// sharing sets what kube-apiserver would set on the listener that is ours here.
func sharing(f *options.Forwarded) sockopts {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		set := func(flag string, option int) {
			if f.True(flag) && err == nil {
				_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1) })
			}
		}
		set("permit-port-sharing", unix.SO_REUSEPORT)
		set("permit-address-sharing", unix.SO_REUSEADDR)
		return err
	}
}
