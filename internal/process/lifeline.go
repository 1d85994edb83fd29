package process

import (
	"io"
	"os"

	"k8s.io/klog/v2"
)

// HoldLifeline ends this process at once when the supervisor is gone, which
// shows as end of file on the inherited descriptor. Parent death signals alone
// do not do: they fire when the forking thread ends, and changing the user
// clears them. Ending at once loses nothing: what was acknowledged is on etcd's
// disk. Zero is no lifeline.
func HoldLifeline(fd int) {
	if fd == 0 {
		return
	}
	f := os.NewFile(uintptr(fd), "lifeline")
	go func() {
		_, _ = io.Copy(io.Discard, f)
		klog.Error("The supervisor is gone: exiting")
		os.Exit(ExitOrphaned)
	}()
}
