package intruder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/supervisor/security"
	"triptych.dev/triptych/internal/tier"
)

// Attempts are all that who has taken over the named tier tries.
func Attempts(name tier.Name) []Attempt {
	all := keys(name)
	for _, t := range slices.Concat(ofTheMachine, ofTheKernel) {
		all = append(all, Attempt{Name: t.name, Try: t.try})
	}
	return slices.Concat(all, calls(name), stored(name), asItself(name))
}

// keys are all secret files there are, and the copies that others have been handed.
func keys(name tier.Name) []Attempt {
	var all []Attempt
	reads := func(path, note string) {
		all = append(all, Attempt{Name: "read " + path + note, Try: func(p *Place) error { return read(filepath.Join(p.Dir, path)) }})
	}
	for _, thing := range security.Things(tier.Aggregator) {
		if thing.File && thing.Name != "pki/ssh.key" { // which only who has nodes behind SSH has
			reads(thing.Name, ", which "+thing.Use)
		}
		for _, holder := range thing.Holders {
			if thing.File && holder != string(name) && thing.Name != "pki/ssh.key" {
				reads(filepath.Join("run", holder, filepath.Base(filepath.Dir(thing.Name))+"-"+filepath.Base(thing.Name)), ", the copy")
			}
		}
	}
	reads("etcd/member/snap/db", ", all that is stored")
	reads("log/supervisor.log", "")
	for _, other := range append(slices.Clone(tier.Order), security.Etcd) {
		if other != name {
			all = append(all, Attempt{Name: "list run/" + string(other), Try: func(p *Place) error { return list(filepath.Join(p.Dir, "run", string(other))) }})
		}
	}
	return all
}

// ofTheKernel is what a machine has beside: modules, clocks, devices, limits, what controls others.
var ofTheKernel = []trial{
	{"load a module by init_module", func(*Place) error { return harmless(raw(unix.SYS_INIT_MODULE, 0, 0, 0)) }},
	{"load a module by finit_module", func(*Place) error { return harmless(raw(unix.SYS_FINIT_MODULE, ^uintptr(0), 0, 0)) }},
	{"remove a module", func(*Place) error {
		return harmless(raw(unix.SYS_DELETE_MODULE, uintptr(unsafe.Pointer(&nowhere[0])), 0, 0))
	}},
	{"set the clock", func(*Place) error {
		// A length of a tick that no kernel takes.
		return harmless(second(unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_TICK, Tick: 1})))
	}},
	{"raise its limit of open files", func(*Place) error {
		limit := unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}
		return raised(unix.RLIMIT_NOFILE, limit)
	}},
	{"raise its limit of threads", func(*Place) error { return raised(unix.RLIMIT_NPROC, unix.Rlimit{Cur: 1 << 22, Max: 1 << 22}) }},
	{"change a limit of another process", each(func(pid int) error {
		var limit unix.Rlimit
		return unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &limit)
	})},
	{"make a user namespace", func(*Place) error { return forked(unix.CLONE_NEWUSER) }},
	{"make a network namespace", func(*Place) error { return onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }) }},
	{"make a pid namespace", func(*Place) error { return onThread(func() error { return unix.Unshare(unix.CLONE_NEWPID) }) }},
	{"enter a namespace of another process", each(func(pid int) error {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return onThread(func() error { return unix.Setns(fd, unix.CLONE_NEWUTS) })
	})},
	{"signal another process by pidfd", each(func(pid int) error {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.PidfdSendSignal(fd, 0, nil, 0)
	})},
	{"add a key to the kernel's", func(*Place) error {
		return second(unix.AddKey("user", "intruder", []byte("x"), unix.KEY_SPEC_THREAD_KEYRING))
	}},
	{"be scheduled in real time", func(*Place) error {
		priority := [1]int32{1}
		return raw(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&priority)))
	}},
	{"be first in line for the CPU", func(*Place) error {
		return onThread(func() error { return unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -10) })
	}},
	{"change its personality", func(*Place) error { return raw(unix.SYS_PERSONALITY, 0xffffffff, 0, 0) }},
	{"watch all of a file system by fanotify", func(*Place) error {
		fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, 0)
		return closedFD(fd, err)
	}},
	{"take a handle of a mount", func(*Place) error {
		fd, err := unix.OpenTree(unix.AT_FDCWD, "/etc", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		return closedFD(fd, err)
	}},
	{"make memory that the kernel cannot read", func(*Place) error { return rawFD(unix.SYS_MEMFD_SECRET, 0) }},
	{"make memory of System V", func(*Place) error {
		id, err := unix.SysvShmGet(0, 4096, 0o600|unix.IPC_CREAT) // IPC_PRIVATE
		if err == nil {
			_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
		return err
	}},
	{"make a device", func(*Place) error { return removed(unix.Mknod(scratch+".n", unix.S_IFCHR|0o600, 1<<8|3), scratch+".n") }},
	{"make a pipe that others can open", func(*Place) error { return removed(unix.Mkfifo(scratch+".p", 0o600), scratch+".p") }},
	{"open memory of the machine", func(*Place) error { return opened("/dev/mem", unix.O_RDONLY) }},
	{"open the terminal", func(*Place) error { return opened("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY) }},
	{"open its own memory for writing", func(*Place) error { return opened("/proc/self/mem", unix.O_RDWR) }},
	{"say what is killed when memory is short", func(*Place) error { return opened("/proc/self/oom_score_adj", unix.O_WRONLY) }},
	{"say what is done with core dumps", func(*Place) error { return opened("/proc/sys/kernel/core_pattern", unix.O_WRONLY) }},
	{"ask the kernel for an emergency", func(*Place) error { return opened("/proc/sysrq-trigger", unix.O_WRONLY) }},
	{"leave its cgroup", func(*Place) error { return opened("/sys/fs/cgroup/cgroup.procs", unix.O_WRONLY) }},
	{"write into /etc", func(*Place) error { return opened("/etc/passwd", unix.O_WRONLY) }},
	{"change who owns its wiring", func(p *Place) error { return unix.Chown(p.Wiring, os.Getuid(), os.Getgid()) }},
	{"set times of a file", func(p *Place) error { return unix.Utimes(p.Wiring, []unix.Timeval{{}, {}}) }},
	{"take the filter of system calls away", func(*Place) error {
		return onThread(func() error { return unix.Prctl(unix.PR_SET_SECCOMP, 0, 0, 0, 0) })
	}},
	{"open a descriptor of another process by /proc/PID/fd", each(func(pid int) error { return list(fmt.Sprintf("/proc/%d/fd", pid)) })},
	{"find files of others among what it was handed", func(p *Place) error {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		own := filepath.Dir(p.Wiring) + "/"
		for _, entry := range entries {
			path, err := os.Readlink("/proc/self/fd/" + entry.Name())
			if err == nil && strings.HasPrefix(path, p.Dir+"/") && !strings.HasPrefix(path, own) {
				return nil
			}
		}
		return errNobody
	}},
}

func raised(which int, limit unix.Rlimit) error {
	var before unix.Rlimit
	if err := unix.Getrlimit(which, &before); err != nil {
		return err
	}
	if err := unix.Setrlimit(which, &limit); err != nil {
		return err
	}
	return unix.Setrlimit(which, &before)
}

func opened(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	return closedFD(fd, err)
}
