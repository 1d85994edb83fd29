package wiring

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// inherited returns the number of a descriptor of l, as a parent hands it down.
func inherited(t *testing.T, l *net.TCPListener) int {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestAnInheritedListenerTakesTheConnectionsOfItsAddress(t *testing.T) {
	parent := listen(t)
	l, err := FD(inherited(t, parent)).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", parent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("took %v, want %v", conn.RemoteAddr(), client.LocalAddr())
	}
}

// An open descriptor left behind would keep accepting after the listener's end,
// and be handed to whatever the process starts.
func TestAnInheritedDescriptorIsClosedInFavourOfTheListener(t *testing.T) {
	fd := inherited(t, listen(t))
	l, err := FD(fd).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := syscall.Fstat(fd, &syscall.Stat_t{}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("descriptor %d is still open (%v)", fd, err)
	}
}

// The supervisor keeps the socket open; a restarted tier finds it again.
func TestClosingTheListenerLeavesTheParentsOpen(t *testing.T) {
	parent := listen(t)
	for range 2 {
		l, err := FD(inherited(t, parent)).Open()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	client, err := net.Dial("tcp", parent.Addr().String())
	if err != nil {
		t.Fatalf("the restart of a tier refuses connections: %v", err)
	}
	client.Close()
}

func TestASocketThatIsNoneIsNamed(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	pipe, err := syscall.Dup(int(read.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	for _, s := range []Socket{"fd:", "fd:x", "fd:-1", "fd:99999", FD(pipe), "127.0.0.1", "127.0.0.1:notaport"} {
		if l, err := s.Open(); err == nil {
			l.Close()
			t.Errorf("%s was opened", s)
		} else {
			wantError(t, err, strings.TrimPrefix(string(s), "127.0.0.1:"))
		}
	}
}

func TestAnAddressIsListenedOn(t *testing.T) {
	l, err := Socket("127.0.0.1:0").Open()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := Socket(l.Addr().String())
	if second, err := taken.Open(); err == nil {
		second.Close()
		t.Errorf("%s was opened twice", taken)
	} else {
		wantError(t, err, "cannot listen", string(taken))
	}
}
