package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"triptych.dev/triptych/internal/process"
)

// maxSocketPath is how long the path of a unix socket may be: unix(7).
const maxSocketPath = 107

// localSocket is a listening unix socket that outlives the processes which serve it. A nil
// one is none.
type localSocket struct {
	file *os.File
	path string
}

// listenLocal opens the socket at path, in a folder of ours that is locked: what is left
// there is of a supervisor that is gone.
func listenLocal(path string) (*localSocket, error) {
	if n := len(path) - maxSocketPath; n > 0 {
		return nil, process.ConfigurationError{Err: fmt.Errorf(
			"--data-dir is %d bytes too long for --hop-transport=unix: choose a shorter one, or tcp", n)}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot replace the socket of an earlier supervisor: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	// TLS says who may do what, as on TCP.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, err
	}
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	return &localSocket{file: f, path: path}, nil
}

func (s *localSocket) where() string {
	if s == nil {
		return ""
	}
	return s.path
}

func (s *localSocket) close() {
	if s != nil {
		s.file.Close()
		os.Remove(s.path)
	}
}
