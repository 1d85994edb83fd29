package datadir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// LockedError tells that another supervisor runs on the directory.
type LockedError struct {
	Root string
	// PID is the other supervisor's process id, 0 if it could not be read.
	PID int
}

func (e *LockedError) Error() string {
	who := "another supervisor"
	if e.PID != 0 {
		who = fmt.Sprintf("another supervisor (pid %d)", e.PID)
	}
	return fmt.Sprintf("%s is running on it: stop that one with `supervisor stop --data-dir %s`, "+
		"or choose another --data-dir", who, e.Root)
}

const (
	// dyingBound is how long a supervisor that was killed may still hold the lock: its
	// threads end one by one, on a busy machine over moments.
	dyingBound = 10 * time.Second
	dyingPoll  = 20 * time.Millisecond
)

// acquire takes the flock. The kernel drops it with the last thread of the process, however
// that ends, so a file that is left behind never blocks the next start; and the file
// is never removed, because a lock on a removed file excludes nobody. Children
// do not inherit it: Go opens files close-on-exec. A holder that dying says is about to be
// gone is waited for. left is the pid of the supervisor that held it last and did not give
// it up, 0 if there is none.
func acquire(d Dir, dying func(pid int) bool) (f *os.File, left int, err error) {
	f, err = os.OpenFile(d.Lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, explain(err)
	}
	lived := false // one look may fall between the signal and what it does
	_ = wait.PollUntilContextTimeout(context.Background(), dyingPoll, dyingBound, true, func(context.Context) (bool, error) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		left = readPID(f)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return true, nil
		}
		before := lived
		lived = !dying(left)
		return before && lived, nil
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, 0, &LockedError{Root: d.Root, PID: left}
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("cannot lock %s: %w", d.Lock(), explain(err))
	}
	return f, left, nil
}

// exiting is PF_EXITING of include/linux/sched.h, among the flags in /proc/PID/stat (proc_pid_stat(5)): a thread that has
// begun to end, and is a zombie only once it has closed its files.
const exiting = 0x4

// isDying tells whether a process was killed but may still have threads, or was gone a
// moment ago. It is false for 0, which is a supervisor that is about to write its pid.
func isDying(pid int) bool {
	if pid == 0 {
		return false
	}
	if killed(pid) { // asked first: it is over once the process has begun to end
		return true
	}
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	stat, err := proc.Stat()
	if err != nil {
		return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	return stat.State == "Z" || stat.State == "X" || stat.Flags&exiting != 0
}

// killed tells whether SIGKILL is on its way to the process.
func killed(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false // whoever looks next says what is the matter
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && set&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}

// release empties the file first: the pid in it must not outlive the lock.
func release(f *os.File) error {
	return errors.Join(f.Truncate(0), f.Close())
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func readPID(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}
