package copies

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"triptych.dev/triptych/internal/datadir"
)

// relay is a name in the folder for a socket of the user's.
type relay struct {
	path string
	// listener leads to a socket that the process cannot dial, or that is not there yet; nil
	// where path is a link.
	listener *net.UnixListener
}

// relayTo returns the path of what leads to the socket at address. The caller holds the lock.
func (f *Folder) relayTo(address string) (string, error) {
	if known, ok := f.relays[address]; ok {
		return known.path, nil
	}
	r := relay{path: filepath.Join(f.Path, fmt.Sprintf("%d.sock", len(f.relays)))}
	var err error
	if f.mayDial(address) {
		// Who serves it sees who dials.
		err = os.Symlink(address, r.path)
	} else {
		err = f.listen(&r, address)
	}
	if err != nil {
		return "", fmt.Errorf("cannot lead to the socket %s: %w", address, err)
	}
	f.relays[address] = r
	return r.path, nil
}

func (f *Folder) listen(r *relay, address string) (err error) {
	if r.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: r.path, Net: "unix"}); err != nil {
		return err
	}
	if err := f.open(r.path, 0o600, 0o660); err != nil {
		r.listener.Close()
		return err
	}
	go r.run(address)
	return nil
}

// mayDial tells whether the process can dial a socket itself.
func (f *Folder) mayDial(address string) bool {
	info, err := os.Stat(address)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	if f.gid < 0 {
		return true
	}
	is, bit := info.Sys().(*syscall.Stat_t), os.FileMode(0o002)
	switch {
	case int(is.Uid) == f.uid:
		bit = 0o200
	case int(is.Gid) == f.gid:
		bit = 0o020
	}
	return info.Mode().Perm()&bit != 0 && datadir.Barrier(address, uint32(f.uid), uint32(f.gid)) == ""
}

// Sockets returns the sockets that the process dials itself.
func (f *Folder) Sockets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for address, r := range f.relays {
		if r.listener == nil {
			all = append(all, address)
		}
	}
	return all
}

func (r relay) close() {
	if r.listener != nil {
		r.listener.Close()
	}
}

func (r relay) run(address string) {
	for {
		in, err := r.listener.AcceptUnix()
		if err != nil {
			return
		}
		go join(in, address)
	}
}

// join carries bytes both ways until both ends have said all.
func join(in *net.UnixConn, address string) {
	defer in.Close()
	conn, err := net.Dial("unix", address)
	if err != nil {
		return // as the end of a connection, which is what callers retry after
	}
	out := conn.(*net.UnixConn)
	defer out.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(in, out)
		_ = in.CloseWrite()
	}()
	_, _ = io.Copy(out, in)
	_ = out.CloseWrite()
	<-done
}
