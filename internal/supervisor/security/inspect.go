package security

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/sandbox"
	"triptych.dev/triptych/internal/tier"
)

// Subject is a process that runs, and what it should be.
type Subject struct {
	// Name is the tier's, or Etcd; Replica is the process'.
	Name, Replica string
	PID           int
	Head          tier.Name
	Dir           datadir.Dir
	// Handed are the files that it has copies of.
	Handed []string
	// NoRoom is why it has no mounts of its own, if the host allows none.
	NoRoom error
}

// Inspect compares what a process is with what it should be. A process that is gone has no rows.
func Inspect(s Subject) []control.SecurityRow {
	is, err := readStatus(s.PID)
	if err != nil {
		return nil
	}
	var rows []control.SecurityRow
	row := func(what, want, found string, ok bool) {
		rows = append(rows, control.SecurityRow{Process: s.Replica, What: what, Want: want, Is: found, OK: ok})
	}
	uid, gid := is.number("Uid"), is.number("Gid")
	row("user", "one of its own", fmt.Sprintf("%d:%d", uid, gid), uid != 0 && int(uid) != os.Geteuid() && is.allSame("Uid") && is.allSame("Gid"))
	row("other groups", "none", is.or("Groups", "none"), is["Groups"] == "")
	capabilities := is.capabilities()
	row("capabilities", "none, and none to be had", capabilities, capabilities == noCapabilities)
	row("no_new_privs", "1", is["NoNewPrivs"], is["NoNewPrivs"] == "1")
	row("umask", "0077", is["Umask"], is["Umask"] == "0077")
	row("system calls", "filtered by seccomp", seccompModes[is["Seccomp"]], is["Seccomp"] == "2")
	// The filter comes last: a process that has it has entered what comes before.
	files := "all that its user may"
	if is["Seccomp"] == "2" && !lacksLandlock() {
		files = locked
	}
	row("files", locked, files, files == locked)
	memory := closed(s.PID)
	row("memory", "closed to other processes", memory, memory == "closed to other processes")
	mounts := mountsOf(s)
	row("mounts", "its own, read-only", mounts, mounts == "its own, read-only")
	for _, thing := range Things(s.Head) {
		if !thing.File {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.Dir.Root, thing.Name)); err != nil {
			continue // none was made
		}
		want, found := access(thing.Holds(s.Name)), access(s.handed(thing.Name) || files != locked && s.reads(thing.Name, uid, gid))
		row(thing.Name, want, found, want == found)
	}
	return rows
}

const (
	noCapabilities = "none, and none to be had"
	locked         = "its own by Landlock"
)

var seccompModes = map[string]string{"0": "all", "1": "strict", "2": "filtered by seccomp"}

func access(may bool) string {
	if may {
		return "reads it"
	}
	return "-"
}

// handed tells whether the process has a copy of a file of the data directory.
func (s Subject) handed(name string) bool {
	return slices.Contains(s.Handed, filepath.Join(s.Dir.Root, name))
}

// reads tells whether the user of the process is let at the file itself.
func (s Subject) reads(name string, uid, gid uint32) bool {
	path := filepath.Join(s.Dir.Root, name)
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	is, bit := info.Sys().(*syscall.Stat_t), os.FileMode(0o004)
	switch {
	case uid == 0 || is.Uid == uid:
		bit = 0o400
	case is.Gid == gid:
		bit = 0o040
	}
	return uid == 0 || info.Mode().Perm()&bit != 0 && datadir.Barrier(path, uid, gid) == ""
}

func lacksLandlock() bool {
	for _, missing := range sandbox.Missing() {
		if strings.HasPrefix(missing, "no Landlock") {
			return true
		}
	}
	return false
}

// closed tells by who owns what is in procfs of a process whether others of its user may look into it.
func closed(pid int) string {
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid))
	if err == nil && info.Sys().(*syscall.Stat_t).Uid != 0 {
		return "open to its user"
	}
	return "closed to other processes"
}

func mountsOf(s Subject) string {
	if s.NoRoom != nil {
		return "the machine's: " + s.NoRoom.Error()
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err.Error()
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", s.PID))
	switch {
	case err != nil:
		return "only root can see that"
	case ours == theirs:
		return "the machine's"
	}
	return "its own, read-only"
}

// status is /proc/PID/status, by its first words.
type status map[string]string

func readStatus(pid int) (status, error) {
	if pid == 0 {
		return nil, os.ErrNotExist
	}
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	s := status{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		s[name] = strings.TrimSpace(value)
	}
	return s, nil
}

func (s status) number(name string) uint32 {
	first, _, _ := strings.Cut(s[name], "\t")
	n, _ := strconv.ParseUint(first, 10, 32)
	return uint32(n)
}

// allSame tells whether real, effective, saved and file system ids are one.
func (s status) allSame(name string) bool {
	for _, id := range strings.Fields(s[name]) {
		if id != strings.Fields(s[name])[0] {
			return false
		}
	}
	return true
}

func (s status) or(name, otherwise string) string {
	if s[name] == "" {
		return otherwise
	}
	return s[name]
}

// capabilities names the sets that are not empty.
func (s status) capabilities() string {
	var some []string
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if strings.Trim(s[set], "0") != "" {
			some = append(some, set+" "+s[set])
		}
	}
	if some == nil {
		return noCapabilities
	}
	return strings.Join(some, ", ")
}
