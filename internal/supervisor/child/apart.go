package child

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is whom a process runs as. It is in no other group, has no capability, and can get none.
type User struct{ UID, GID uint32 }

// Room is what a process sees of the file system: all of it, but nothing can be written except
// Write, /tmp is empty, and other users' processes are not in /proc. It also has no System V
// memory or queue in common with others. Only root can make one.
type Room struct {
	// Keep are folders that stay where they are even if they are below /tmp.
	Keep []string
	// Write are folders that can be written.
	Write []string
}

// with is r that keeps folder too, nil if r is.
func (r *Room) with(folder string) *Room {
	if r == nil {
		return nil
	}
	return &Room{Keep: append(slices.Clone(r.Keep), folder), Write: r.Write}
}

// home is where the forking thread comes from, and goes back to.
type home struct{ mounts, ipc *os.File }

// settle prepares the forking thread, and with it all that it forks: nothing there gets more rights by
// running a program, and files are made for their owner alone. With users, no capability is left
// for who is no longer root.
func settle(users bool) (*home, error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("cannot set a umask for one thread: %w", err)
	}
	unix.Umask(0o077)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot set no_new_privs: %w", err)
	}
	if !users {
		return nil, nil
	}
	if err := dropBounds(); err != nil {
		return nil, err
	}
	return findHome()
}

// dropBounds empties the bounding set of the thread; what it has already, it keeps.
func dropBounds() error {
	for c := range uintptr(64) {
		set, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			return nil // the kernel has no more
		}
		if set == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("cannot take capability %d from the processes: %w: let the supervisor have CAP_SETPCAP", c, err)
		}
	}
	return nil
}

func findHome() (*home, error) {
	h := &home{}
	for name, file := range map[string]**os.File{"mnt": &h.mounts, "ipc": &h.ipc} {
		f, err := os.Open("/proc/thread-self/ns/" + name)
		if err != nil {
			return nil, err
		}
		*file = f
	}
	return h, nil
}

// within runs f in a new room, on the calling thread, which is back at home afterwards.
func (h *home) within(r Room, f func() error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWIPC); err != nil {
		return noRoom(err)
	}
	err := r.furnish()
	if err == nil {
		err = f()
	} else {
		err = noRoom(err)
	}
	for kind, file := range map[int]*os.File{unix.CLONE_NEWNS: h.mounts, unix.CLONE_NEWIPC: h.ipc} {
		if back := unix.Setns(int(file.Fd()), kind); back != nil {
			panic("the forking thread cannot leave the room of a child: " + back.Error())
		}
	}
	return err
}

// noRoomError: the machine allows no Room.
type noRoomError struct{ err error }

func (e noRoomError) Error() string { return e.err.Error() }
func (e noRoomError) Unwrap() error { return e.err }

func noRoom(err error) error { return noRoomError{err} }

// temporary are the folders that everybody can write.
var temporary = []string{"/tmp", "/var/tmp", "/dev/shm"}

func (r Room) furnish() error {
	// What the machine unmounts later goes here too.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cannot leave the mounts of the machine: %w", err)
	}
	for _, folder := range temporary {
		if err := r.empty(folder); err != nil {
			return err
		}
	}
	for _, folder := range r.Write {
		if err := unix.Mount(folder, folder, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot mount %s: %w", folder, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "hidepid=2"); err != nil {
		return fmt.Errorf("cannot mount /proc: %w", err)
	}
	sealed := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &sealed); err != nil {
		return fmt.Errorf("cannot make the file system read-only: %w", err)
	}
	for _, folder := range r.Write {
		if err := unix.MountSetattr(unix.AT_FDCWD, folder, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("cannot make %s writable: %w", folder, err)
		}
	}
	return nil
}

// empty mounts an empty folder over folder, with what is to be kept.
func (r Room) empty(folder string) error {
	if info, err := os.Lstat(folder); err != nil || !info.IsDir() {
		return nil
	}
	kept := map[string]int{}
	for _, keep := range append(r.Keep, r.Write...) {
		if _, twice := kept[keep]; twice || !strings.HasPrefix(keep, folder+"/") {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, keep, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("cannot keep %s: %w", keep, err)
		}
		defer unix.Close(fd)
		kept[keep] = fd
	}
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("cannot empty %s: %w", folder, err)
	}
	// The umask of the thread is for files of children, who have to find their way here.
	defer unix.Umask(unix.Umask(0o022))
	for keep, fd := range kept {
		if err := os.MkdirAll(keep, 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, keep, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("cannot keep %s: %w", keep, err)
		}
	}
	return nil
}

func (u *User) credential() *syscall.Credential {
	return &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: []uint32{}}
}
