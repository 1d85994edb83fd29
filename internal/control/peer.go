package control

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/refusal"
)

// trustedListener drops connections of other users. The socket's mode keeps
// them out already; this holds when somebody loosens it.
type trustedListener struct {
	*net.UnixListener
	refused *refusal.Log
}

func (l trustedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := credentials(c)
		switch {
		case err != nil:
			l.refused.Refused("unknown", err.Error())
		case trusted(peer.Uid):
			return c, nil
		default:
			l.refused.Refused(fmt.Sprintf("process %d of user %d", peer.Pid, peer.Uid), "the control socket is for root and the supervisor's own user")
		}
		c.Close()
	}
}

func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// credentials returns who is at the other end, as the kernel knows it.
func credentials(c *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if controlErr != nil {
		return nil, controlErr
	}
	return peer, err
}
