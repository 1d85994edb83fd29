package process

import (
	"path/filepath"

	"triptych.dev/triptych/internal/sandbox"
	"triptych.dev/triptych/internal/wiring"
)

// enclose takes from this process what no tier needs, before it has read anything that others wrote.
// What it reads of the supervisor's and the user's is in the folder of its wiring; that there are sockets
// says that it may dial some.
func enclose(path string, w *wiring.Wiring) error {
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return err
	}
	sockets, err := filepath.Glob(filepath.Join(folder, "*.sock"))
	if err != nil {
		return err
	}
	return sandbox.Enter(sandbox.Mode(w.Sandbox), sandbox.Profile{Read: []string{folder}, Unix: len(sockets) > 0 || w.Listen.HopSocket != ""})
}
