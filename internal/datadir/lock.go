package datadir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

// acquire takes the flock. The kernel drops it with the process, however that
// ends, so a file that is left behind never blocks the next start; and the file
// is never removed, because a lock on a removed file excludes nobody. Children
// do not inherit it: Go opens files close-on-exec.
func acquire(d Dir) (*os.File, error) {
	f, err := os.OpenFile(d.Lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, &LockedError{Root: d.Root, PID: readPID(f)}
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", d.Lock(), explain(err))
	}
	return f, nil
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
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}
