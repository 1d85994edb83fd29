package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pollInterval is how often Wait looks at its context.
const pollInterval = 100 * time.Millisecond

// peerProcess is a process that is waited for without being a child. It is held by
// a descriptor: numbers of processes are used again.
type peerProcess struct{ fd int }

// watchProcess returns the supervisor's process.
func (c *Client) watchProcess(ctx context.Context) (*peerProcess, error) {
	conn, err := c.dial(ctx, "", "")
	if err != nil {
		return nil, explain(err)
	}
	defer conn.Close()
	peer, err := credentials(conn.(*net.UnixConn))
	if err != nil {
		return nil, fmt.Errorf("cannot find the supervisor's process: %w", err)
	}
	fd, err := unix.PidfdOpen(int(peer.Pid), 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch the supervisor's process: %w", os.NewSyscallError("pidfd_open", err))
	}
	return &peerProcess{fd: fd}, nil
}

// Wait returns when the process is gone or ctx ends.
func (p *peerProcess) Wait(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the supervisor is still stopping: %w", err)
		}
		polled := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(polled, int(pollInterval.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if n > 0 {
			return nil
		}
	}
}

// Close gives the process up.
func (p *peerProcess) Close() error { return unix.Close(p.fd) }
