package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// folderMode keeps everybody else out of the keys, the data and the sockets.
const folderMode = 0o700

// maxControlPath is how long the path of a Unix socket may be on Linux: 108
// bytes with the terminating zero.
const maxControlPath = 107

// Handle is a data directory that this process has locked.
type Handle struct {
	Dir
	// Killed tells that the supervisor before this one was killed, or the machine lost
	// power: processes of it may still be about to end.
	Killed bool

	lock *os.File
	// Completed: a Replace that had been cut short was done to its end.
	Completed bool
}

// Open makes the data directory and its folders where they are missing, checks
// that it is ours, and locks it until Close or the end of the process. Only a
// supervisor opens one. Every error is a user's to mend and says how; a second
// supervisor gets a *LockedError.
func Open(root string) (*Handle, error) {
	d, err := prepare(root)
	if err != nil {
		return nil, fmt.Errorf("cannot use data directory %s: %w", root, err)
	}
	lock, left, err := acquire(d, isDying)
	if err != nil {
		return nil, fmt.Errorf("cannot use data directory %s: %w", root, err)
	}
	completed, err := d.furnish()
	if err != nil {
		release(lock)
		return nil, fmt.Errorf("cannot use data directory %s: %w", root, err)
	}
	return &Handle{Dir: d, Killed: left != 0, lock: lock, Completed: completed}, nil
}

// furnish makes the folders, after a Replace that was cut short has been done to its end:
// an empty folder must not be there before what is to take its place.
func (d Dir) furnish() (completed bool, err error) {
	if completed, err = d.complete(); err != nil {
		return false, err
	}
	for _, folder := range d.folders() {
		if err := d.makeFolder(folder); err != nil {
			return false, err
		}
	}
	return completed, nil
}

// Close gives up the lock. The process must not touch the directory afterwards.
func (h *Handle) Close() error {
	if h.lock == nil {
		return nil
	}
	err := release(h.lock)
	h.lock = nil
	return err
}

// prepare does what comes before locking. The marker comes before the folders, so that a
// first start that is cut short leaves no directory that the next one refuses.
func prepare(root string) (Dir, error) {
	if root == "" {
		return Dir{}, errors.New("its name is empty: give --data-dir a directory")
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return Dir{}, err
	}
	d := Dir{Root: abs}
	if n := len(d.Control()); n > maxControlPath {
		return Dir{}, fmt.Errorf("its path is %d bytes too long for the control socket in it: "+
			"choose a shorter one", n-maxControlPath)
	}
	if err := d.makeFolder(d.Root); err != nil {
		return Dir{}, err
	}
	if err := d.claim(); err != nil {
		return Dir{}, err
	}
	return d, d.makeFolder(d.Run())
}

// makeFolder makes the folder and its parents. An existing one is closed to
// others: keys may have been dropped into a pki/ that anyone can read. What LetThrough
// has opened stays: the processes of a supervisor that runs have to come through.
func (d Dir) makeFolder(path string) error {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return explain(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return explain(err)
	}
	through := slices.Contains(d.through(), path) && info.Mode().Perm() == throughMode
	if through || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return explain(os.Chmod(path, folderMode))
}

// explain adds the remedy to what the operating system says.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("a file is where a folder is needed: %w: give --data-dir a directory", err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: make it writable for user %d, or choose another --data-dir", err, os.Geteuid())
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: free some space, or choose a --data-dir on another disk", err)
	default:
		return err
	}
}
