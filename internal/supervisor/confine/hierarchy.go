package confine

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is where groups for one controller can be made: the folder of a cgroup
// that is the supervisor's to divide.
type hierarchy struct {
	version int // 1 or 2
	folder  string
}

// find returns, by controller, the hierarchies in which this process may make groups. proc
// is where procfs is mounted; delegated tells of a folder of version 2 whether whoever
// made it left it to us.
func find(proc string, delegated func(folder string) bool) map[string]hierarchy {
	mounts, own := mountsOf(proc), ownOf(proc)
	found := map[string]hierarchy{}
	for _, controller := range controllers {
		if folder, ok := mounts.folder(controller, own[controller]); ok && own[controller] != "" {
			found[controller] = hierarchy{1, folder}
		}
	}
	folder, ok := mounts.folder("", own[""])
	if len(found) > 0 || !ok || own[""] == "" {
		return found
	}
	for _, base := range []string{folder, filepath.Dir(folder)} {
		if delegated(base) {
			return divide(base, base == folder)
		}
	}
	return found
}

// divide makes groups below a delegated folder of version 2 possible and returns the controllers
// that they have. A group that holds processes cannot have others below it: where the supervisor
// is in it, it moves into one of its own. (With DelegateSubgroup= systemd has done so.)
func divide(base string, inside bool) map[string]hierarchy {
	found := map[string]hierarchy{}
	leaf := filepath.Join(base, "supervisor")
	if inside && (mkdir(leaf) != nil || write(filepath.Join(leaf, "cgroup.procs"), "0") != nil) {
		return found
	}
	available, _ := os.ReadFile(filepath.Join(base, "cgroup.controllers"))
	for _, controller := range controllers {
		if slices.Contains(strings.Fields(string(available)), controller) && write(filepath.Join(base, "cgroup.subtree_control"), "+"+controller) == nil {
			found[controller] = hierarchy{2, base}
		}
	}
	return found
}

// isDelegated tells what systemd says of a folder. Without its word a folder is left
// alone even by root: to divide the cgroup of a container keeps everybody else
// from entering it.
func isDelegated(folder string) bool {
	for _, attribute := range []string{"user.delegate", "trusted.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(folder, attribute, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// ownOf returns the paths of this process' cgroups by controller; that of version 2
// is by "". See cgroups(7).
func ownOf(proc string) map[string]string {
	own := map[string]string{}
	content, _ := os.ReadFile(filepath.Join(proc, "self/cgroup"))
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			own[controller] = fields[2]
		}
	}
	return own
}

// mount is where a hierarchy is mounted: root of it, at point, with the controllers
// of version 1.
type mount struct {
	root, point string
	controllers []string
}

type mounts []mount

// mountsOf reads the mounts of cgroups; see proc_pid_mountinfo(5). Version 2 has the
// controller "".
func mountsOf(proc string) (found mounts) {
	content, _ := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup":
			found = append(found, mount{place[3], place[4], strings.Split(kind[2], ",")})
		case "cgroup2":
			found = append(found, mount{place[3], place[4], []string{""}})
		}
	}
	return found
}

// folder is where the cgroup at path of the controller's hierarchy can be seen.
func (m mounts) folder(controller, path string) (string, bool) {
	for _, mount := range m {
		if !slices.Contains(mount.controllers, controller) {
			continue
		}
		if relative, err := filepath.Rel(mount.root, path); err == nil && !strings.HasPrefix(relative, "..") {
			return filepath.Join(mount.point, relative), true
		}
	}
	return "", false
}
