package supervisor

import (
	"context"
	"os"
	"slices"
	"syscall"

	"triptych.dev/triptych/internal/supervisor/child"
	"triptych.dev/triptych/internal/supervisor/copies"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/observe"
)

// running is one running process.
type running interface {
	PID() int
	// Signal does not block; SIGKILL reaches all that the process started.
	Signal(syscall.Signal)
	// Wait returns when the process is gone and was waited for.
	Wait() lifecycle.Exit
}

// launch starts a process, observe watches it until ctx ends.
type (
	launch  func() (running, error)
	watcher func(ctx context.Context, sink observe.Sink)
)

// connect returns what a new process is to inherit on top of its spec.
type connect func() (*os.File, error)

// renewed returns how a process is started that reads files again which may have changed. What cannot be
// renewed is as it was; follow tells.
func renewed(folder *copies.Folder, start launch) launch {
	return func() (running, error) {
		_, _ = folder.Renew()
		return start()
	}
}

// forked returns how processes of spec are started, each with connections of its
// own.
func forked(f *child.Forker, spec child.Spec, connections ...connect) launch {
	return func() (running, error) {
		spec := spec
		spec.Files = slices.Clone(spec.Files)
		for _, connect := range connections {
			file, err := connect()
			if err != nil {
				return nil, err
			}
			defer file.Close()
			spec.Files = append(spec.Files, file)
		}
		p, err := f.Start(spec)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
}
