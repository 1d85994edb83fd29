package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

const (
	cpu    = "cpu"
	memory = "memory"
	pids   = "pids"
)

// controllers are all that groups are made for.
var controllers = []string{cpu, memory, pids}

// threads is what both versions call the limit of pids.
const threads = "pids.max"

const (
	// usual and meek are how much of the CPU a group gets where others get 100. That
	// counts only when there is not enough for all.
	usual = 100
	meek  = 10
	// nice is the nice value that comes closest to meek.
	nice = 10
)

// files are what a controller's folder calls things, by version.
var files = map[int]struct{ weight, quota, limit, kills string }{
	1: {"cpu.shares", "cpu.cfs_quota_us", "memory.limit_in_bytes", "memory.oom_control"},
	2: {"cpu.weight", "cpu.max", "memory.max", "memory.events"},
}

// quota is what so many thousandths of a CPU are called: microseconds of each tenth of a second, which
// is the kernel's own period. Version 2 wants that to be said.
func quota(version int, millis int64) string {
	if version == 1 {
		return fmt.Sprint(millis * 100)
	}
	return fmt.Sprintf("%d 100000", millis*100)
}

// shares is what a weight is called. With version 1 a group competes with each thread outside
// of it, and a Go program runs one thread a CPU.
func shares(version, weight int) int64 {
	if version == 1 {
		return int64(weight * 1024 * runtime.NumCPU() / 100)
	}
	return int64(weight)
}

// group are the cgroups of one process, one by controller that is in force. With
// version 2 they are the same folder.
type group struct {
	folders map[string]string
	version int    // of the hierarchy of cpu
	bound   string // the file with the limit of memory
	kills   string // the file that counts them
	before  int
}

// makeGroup makes what it can of a group called name.
func makeGroup(in map[string]hierarchy, name string, limits Limits) *group {
	g := &group{folders: map[string]string{}}
	if h, ok := in[cpu]; ok && (limits.Yields || limits.CPU > 0) {
		g.version = h.version
		made := g.make(cpu, h, name, files[h.version].weight, fmt.Sprint(shares(h.version, usual)))
		if made && limits.CPU > 0 && write(filepath.Join(g.folders[cpu], files[h.version].quota), quota(h.version, limits.CPU)) != nil {
			g.remove(cpu)
		}
	}
	if h, ok := in[memory]; ok && limits.Memory > 0 && g.make(memory, h, name, files[h.version].limit, fmt.Sprint(limits.Memory)) {
		g.bound = filepath.Join(g.folders[memory], files[h.version].limit)
		g.kills = filepath.Join(g.folders[memory], files[h.version].kills)
		g.before = g.count()
	}
	if h, ok := in[pids]; ok && limits.Pids > 0 {
		g.make(pids, h, name, threads, fmt.Sprint(limits.Pids))
	}
	return g
}

func (g *group) make(controller string, h hierarchy, name, file, value string) bool {
	folder := filepath.Join(h.folder, name)
	if mkdir(folder) != nil {
		return false
	}
	g.folders[controller] = folder
	if write(filepath.Join(folder, file), value) != nil {
		g.remove(controller)
		return false
	}
	return true
}

func (g *group) has(controller string) bool { return g.folders[controller] != "" }

// enter moves a process into the group, with all of its threads.
func (g *group) enter(pid int) {
	for controller, folder := range g.folders {
		if write(filepath.Join(folder, "cgroup.procs"), strconv.Itoa(pid)) != nil {
			g.remove(controller)
		}
	}
}

// weigh says how much of the CPU the group gets.
func (g *group) weigh(weight int) error {
	return write(filepath.Join(g.folders[cpu], files[g.version].weight), strconv.FormatInt(shares(g.version, weight), 10))
}

// allow says how much memory the group gets, 0 is as much as there is. Where the kernel
// refuses, such as less than is in use, the supervisor sees to it alone.
func (g *group) allow(bytes int64) {
	value := strconv.FormatInt(bytes, 10)
	switch {
	case !g.has(memory):
		return
	case bytes == 0 && filepath.Base(g.bound) == files[2].limit:
		value = "max"
	case bytes == 0:
		value = "-1"
	}
	_ = write(g.bound, value)
}

// remove removes the folder, unless another controller's is the same.
func (g *group) remove(controller string) {
	folder := g.folders[controller]
	delete(g.folders, controller)
	for _, other := range g.folders {
		if other == folder {
			return
		}
	}
	_ = os.Remove(folder)
}

func (g *group) close() {
	for _, controller := range controllers {
		if g.has(controller) {
			g.remove(controller)
		}
	}
}

// killed tells whether the kernel has killed the process for its memory.
func (g *group) killed() bool { return g.has(memory) && g.count() > g.before }

// count reads the line "oom_kill N".
func (g *group) count() int {
	content, _ := os.ReadFile(g.kills)
	for line := range strings.Lines(string(content)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == "oom_kill" {
			n, _ := strconv.Atoi(value)
			return n
		}
	}
	return 0
}

// sweep removes the groups that a supervisor left behind which was killed. One that
// holds processes stays by itself.
func sweep(in map[string]hierarchy, alive func(pid int) bool) {
	for _, h := range in {
		left, _ := filepath.Glob(filepath.Join(h.folder, prefix+"*"))
		for _, folder := range left {
			word, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), prefix), "-")
			if pid, err := strconv.Atoi(word); err == nil && !alive(pid) {
				_ = os.Remove(folder)
			}
		}
	}
}

func mkdir(folder string) error {
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// write writes into a file that the kernel has made.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
