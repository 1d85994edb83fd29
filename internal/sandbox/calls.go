package sandbox

import (
	"os"
	"runtime"
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// calls are the system calls of a Go program that serves and dials, reads files and
// watches them. Not among them, so that nobody has to list them: execve, fork, ptrace,
// process_vm_readv, memfd_create, mount, unshare, setns, bpf, io_uring, kill, setuid, chmod,
// bind and listen. Those of one architecture alone are left out on others.
var calls = []string{
	// files
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "close", "close_range", "lseek", "openat", "open", "fstat", "stat", "lstat",
	"newfstatat", "statx", "fstatfs", "statfs", "readlink", "readlinkat", "getdents64", "access", "faccessat", "faccessat2", "getcwd", "fcntl", "dup", "dup3",
	"pipe2", "splice", "sendfile", "copy_file_range", "fadvise64", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
	// memory; mmap and mprotect are below
	"munmap", "madvise", "mremap", "mincore", "brk", "mlock", "munlock",
	// threads, time, signals of one's own; clone, tgkill and prctl are below
	"futex", "sched_yield", "sched_getaffinity", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "restart_syscall",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "rt_sigtimedwait", "setitimer", "timer_create", "timer_settime", "timer_delete",
	"timer_gettime", "set_robust_list", "set_tid_address", "rseq", "membarrier", "getcpu", "exit", "exit_group", "gettid", "getpid", "getppid", "getpgrp",
	"getuid", "geteuid", "getgid", "getegid", "getgroups", "getrlimit", "getrusage", "times", "uname", "sysinfo", "getrandom", "arch_prctl",
	// connections; socket is below
	"epoll_create1", "epoll_create", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "poll", "ppoll", "connect", "accept", "accept4",
	"getsockname", "getpeername", "getsockopt", "setsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown",
}

// storing are those of a database on top. It binds its port itself.
var storing = []string{
	"fsync", "fdatasync", "ftruncate", "truncate", "fallocate", "flock", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir",
	"fchmod", "fchmodat", "utimensat", "sync_file_range", "msync", "bind", "listen", "linkat",
}

// silent are refused as if the kernel did not know them, which is what callers are prepared for.
var silent = []string{"clone3"}

// restrictCalls leaves the process, in all of its threads, the calls of its profile.
func restrictCalls(mode Mode, p Profile) error {
	refused := seccomp.ActionErrno
	if mode == Log {
		refused = seccomp.ActionLog
	}
	here, err := arch.GetInfo(runtime.GOARCH)
	if err != nil {
		return err
	}
	known := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := here.SyscallNames[name]; return !ok })
	}
	names := known(calls)
	if p.Stores {
		names = append(names, known(storing)...)
	}
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: refused,
			Syscalls: []seccomp.SyscallGroup{
				{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: known(silent)},
				{Action: seccomp.ActionAllow, Names: names, NamesWithCondtions: bounded(p)},
			},
		},
	})
}

// bounded are calls that are allowed with some arguments alone.
func bounded(p Profile) []seccomp.NameWithConditions {
	with := func(name string, all ...seccomp.Condition) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: all}
	}
	equal := func(argument uint32, value uint64) seccomp.Condition {
		return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: value}
	}
	never := func(argument uint32, bits uint64) seccomp.Condition {
		return seccomp.Condition{Argument: argument, Operation: seccomp.BitsNotSet, Value: bits}
	}
	self := uint64(os.Getpid())
	list := []seccomp.NameWithConditions{
		// Threads and no processes.
		with("clone", seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}),
		// A signal to oneself is how the runtime preempts.
		with("tgkill", equal(0, self)),
		// No memory becomes code.
		with("mmap", never(2, unix.PROT_EXEC)),
		with("mprotect", never(2, unix.PROT_EXEC)),
		with("prctl", equal(0, unix.PR_SET_VMA)),
		with("prlimit64", equal(0, 0)),
		with("prlimit64", equal(0, self)),
	}
	families := []uint64{unix.AF_INET, unix.AF_INET6}
	if p.Unix {
		families = append(families, unix.AF_UNIX)
	}
	// Neither raw packets nor the kernel's own protocols.
	for _, family := range families {
		for _, kind := range []uint64{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			list = append(list, with("socket", equal(0, family), equal(1, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)))
		}
	}
	return list
}
