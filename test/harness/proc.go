package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Proc is a process found in /proc.
type Proc struct {
	PID  int
	Args []string
}

// String is for failures.
func (p Proc) String() string { return fmt.Sprintf("%d %s", p.PID, strings.Join(p.Args, " ")) }

// ProcsOf lists the living processes, but for this one, whose command line or
// working directory mentions dir. Every child of a supervisor carries its data
// directory in an argument.
func ProcsOf(dir string) []Proc {
	var found []Proc
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		pid, _ := strconv.Atoi(filepath.Base(entry))
		args := ArgsOf(pid)
		cwd, _ := os.Readlink(filepath.Join(entry, "cwd"))
		if pid != os.Getpid() && args != nil && (strings.Contains(strings.Join(args, " "), dir) || strings.HasPrefix(cwd, dir)) {
			found = append(found, Proc{PID: pid, Args: args})
		}
	}
	return found
}

// ArgsOf returns the command line of a process; none if it is gone or a zombie.
func ArgsOf(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimRight(raw, "\x00")), "\x00")
}

// Alive tells whether pid runs and is no zombie.
func Alive(pid int) bool { return ArgsOf(pid) != nil }

// Memory of a process in bytes.
type Memory struct{ RSS, Anonymous, PSS int64 }

// MemoryOf reads the memory of a process.
func MemoryOf(pid int) (Memory, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	m := Memory{}
	fields := map[string]*int64{"Rss:": &m.RSS, "Anonymous:": &m.Anonymous, "Pss:": &m.PSS}
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(line)
		if value, ok := fields[words[0]]; ok {
			kilobytes, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return Memory{}, err
			}
			*value = kilobytes << 10
		}
	}
	return m, nil
}
