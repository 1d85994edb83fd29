package confine

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// prefix begins the names of all groups; the supervisor's number follows, and the
// child's name.
const prefix = "triptych-"

// Limits are what a process is held to.
type Limits struct {
	// Yields: the process can be made to leave the CPU to others.
	Yields bool
	// CPU is in thousandths of a CPU; 0 is no limit.
	CPU int64
	// Memory is in bytes; 0 is no limit.
	Memory int64
	// Pids is how many threads the process may have; 0 is no limit.
	Pids int
}

// InForce says what of the limits of a process is in force, and by what means. A field is
// empty where there is no limit, or no means.
type InForce struct {
	// CPU is by what the process yields when it has to: "cgroup" or "nice".
	CPU string
	// Memory is the limit in bytes.
	Memory int64
	// MemoryBy is "supervisor" or "cgroup and supervisor".
	MemoryBy string
	// Pids is how many threads the process may have, where there is a cgroup for that.
	Pids int
	// CPULimit is in thousandths of a CPU, where there is a cgroup for that.
	CPULimit int64
}

// Host confines processes by what this machine allows. Its methods may be called from
// any goroutine.
type Host struct {
	hierarchies map[string]hierarchy

	mu      sync.Mutex
	inForce map[string]InForce
	held    map[string]*Held // the newest by that name
}

// NewHost finds out what this machine allows. It comes before the first child: the supervisor
// itself may have to move into another cgroup.
func NewHost() *Host { return newHost("/proc", isDelegated) }

func newHost(proc string, delegated func(string) bool) *Host {
	h := &Host{hierarchies: find(proc, delegated), inForce: map[string]InForce{}, held: map[string]*Held{}}
	sweep(h.hierarchies, func(pid int) bool {
		_, err := os.Stat(filepath.Join(proc, fmt.Sprint(pid)))
		return err == nil
	})
	return h
}

// HoldsCPU tells whether processes can be held to a limit of the CPU here.
func (h *Host) HoldsCPU() bool {
	_, ok := h.hierarchies[cpu]
	return ok
}

// InForce returns what holds the newest process called name.
func (h *Host) InForce(name string) InForce {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inForce[name]
}

// Box is made for one process, before it is started.
type Box struct {
	host   *Host
	name   string
	limits Limits
	group  *group
}

// Box makes what will hold a process. name is unique among the processes of the supervisor that live.
func (h *Host) Box(name string, limits Limits) *Box {
	group := makeGroup(h.hierarchies, fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), name), limits)
	return &Box{h, name, limits, group}
}

// Close is for a box whose process could not be started.
func (b *Box) Close() { b.group.close() }

// Hold puts a process that was just started into the box, until it ends.
func (b *Box) Hold(p Process) *Held {
	b.group.enter(p.PID())
	now := InForce{}
	switch {
	case !b.limits.Yields:
	case b.group.has(cpu):
		now.CPU = "cgroup"
	default:
		now.CPU = "nice"
	}
	if b.group.has(cpu) {
		now.CPULimit = b.limits.CPU
	}
	if b.group.has(pids) {
		now.Pids = b.limits.Pids
	}
	held := &Held{Process: p, box: b, gone: make(chan struct{})}
	b.host.mu.Lock()
	b.host.inForce[b.name], b.host.held[b.name] = now, held
	b.host.mu.Unlock()
	b.host.Limit(b.name, b.limits.Memory)
	return held
}

// Limit holds the newest process called name to so many bytes of memory from now on, or
// to none if that is 0.
func (h *Host) Limit(name string, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held, now := h.held[name], h.inForce[name]
	if held == nil {
		return
	}
	held.limit(bytes)
	now.Memory, now.MemoryBy = bytes, ""
	switch {
	case bytes > 0 && held.box.group.has(memory):
		now.MemoryBy = "cgroup and supervisor"
	case bytes > 0:
		now.MemoryBy = "supervisor"
	}
	h.inForce[name] = now
}
