package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// look is how often the memory of a process is read: a process that allocates as fast as it can
// takes some hundred MiB meanwhile.
const look = 100 * time.Millisecond

// Process is a child that runs.
type Process interface {
	PID() int
	Signal(syscall.Signal)
	Wait() lifecycle.Exit
}

// Held is a process in its box.
type Held struct {
	Process
	box    *Box
	memory atomic.Int64 // bytes, 0 for no limit
	watch  sync.Once
	passed atomic.Bool
	gone   chan struct{}
}

// Wait returns when the process is gone and was waited for, with its limit as the
// reason if it was that.
func (h *Held) Wait() lifecycle.Exit {
	exit := h.Process.Wait()
	close(h.gone)
	if exit.Signal == syscall.SIGKILL && (h.passed.Load() || h.box.group.killed()) {
		exit.Reason = fmt.Sprintf("it passed its memory limit of %d MiB", h.memory.Load()>>20)
	}
	h.box.Close()
	return exit
}

// Yield has the process leave the CPU to others, or no longer. It does nothing for one whose
// limits say nothing of that. Whoever may raise a nice value and not lower it again (see
// RLIMIT_NICE in getrlimit(2)) leaves the process nice until it ends, and gets an error.
func (h *Held) Yield(on bool) error {
	if !h.box.limits.Yields {
		return nil
	}
	weight, value := usual, 0
	if on {
		weight, value = meek, nice
	}
	if h.box.group.has(cpu) {
		return h.box.group.weigh(weight)
	}
	return renice(h.PID(), value)
}

// renice sets the nice value of all threads of a process. The second time is for those that
// were made meanwhile by one that had not been reached.
func renice(pid, value int) error {
	for range 2 {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, thread := range threads {
			if id, err := strconv.Atoi(filepath.Base(thread)); err == nil {
				if err := unix.Setpriority(unix.PRIO_PROCESS, id, value); err != nil && !errors.Is(err, unix.ESRCH) {
					return fmt.Errorf("cannot set the nice value to %d: %w", value, err)
				}
			}
		}
	}
	return nil
}

// limit holds the process to so many bytes from now on, or to none.
func (h *Held) limit(memory int64) {
	h.memory.Store(memory)
	h.box.group.allow(memory)
	if memory > 0 {
		h.watch.Do(func() { go h.lookAfter() })
	}
}

// lookAfter kills the process when it passes its limit.
func (h *Held) lookAfter() {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-h.gone:
			return
		case <-tick.C:
		}
		if limit := h.memory.Load(); limit > 0 && anonymous(h.PID()) > limit {
			h.passed.Store(true)
			h.Signal(syscall.SIGKILL)
			return
		}
	}
}

// anonymous is the resident memory of a process that is no file's, in bytes, 0 if it is gone. Pages of
// its program are shared, and the kernel takes them back when it needs them.
func anonymous(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(content), &size, &resident, &shared); err != nil {
		return 0
	}
	return (resident - shared) * int64(os.Getpagesize())
}
