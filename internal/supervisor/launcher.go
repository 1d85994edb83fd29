package supervisor

import (
	"context"
	"syscall"

	"triptych.dev/triptych/internal/supervisor/child"
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

// forked returns how processes of spec are started.
func forked(f *child.Forker, spec child.Spec) launch {
	return func() (running, error) {
		p, err := f.Start(spec)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
}
