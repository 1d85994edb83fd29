package etcd

import (
	"io"
	"os"

	"triptych.dev/triptych/internal/process"
)

// holdLifeline ends this process at once when the supervisor is gone, which
// shows as end of file on the inherited descriptor. There is nobody left to
// serve, and ending at once loses nothing: what was acknowledged is on disk.
func holdLifeline(fd int) {
	if fd == 0 {
		return
	}
	f := os.NewFile(uintptr(fd), "lifeline")
	go func() {
		_, _ = io.Copy(io.Discard, f)
		os.Exit(process.ExitOrphaned)
	}()
}
