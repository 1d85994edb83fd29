package hop

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever the machine's default is, both ends of a hop within it send at once what they have.
func TestLoopbackIsNotPaced(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	var set peerSet
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := (&peerListener{Listener: l, set: &set}).Accept()
		accepted <- c
	}()
	raw := must(reach(t.Context(), l.Addr().String(), ""))
	defer raw.Close()
	c := <-accepted
	defer c.Close()
	for end, conn := range map[string]net.Conn{"the end that dials": raw, "the end that accepts": c.(*peerConn).Conn} {
		var control string
		var err error
		sock := must(conn.(*net.TCPConn).SyscallConn())
		if failed := sock.Control(func(fd uintptr) {
			control, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		}); failed != nil || err != nil || control != "reno" {
			t.Errorf("%s is controlled by %q: %v %v", end, control, failed, err)
		}
	}
}
