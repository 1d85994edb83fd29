package intruder

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// trial is what isolation alone refuses, whoever the attacker is.
type trial struct {
	name string
	try  func(*Place) error
}

// ofTheMachine are files, processes and the kernel, the harmless first: the last ones would end a process.
var ofTheMachine = []trial{
	{"list the data directory", func(p *Place) error { return list(p.Dir) }},
	{"list /", func(*Place) error { return list("/") }},
	{"read /etc/shadow", func(*Place) error { return read("/etc/shadow") }},
	{"dial run/control.sock", func(p *Place) error {
		// Who may connect to a socket and is told nothing has got nowhere.
		conn, err := net.Dial("unix", filepath.Join(p.Dir, "run", "control.sock"))
		if err != nil {
			return err
		}
		fmt.Fprint(conn, "GET /v1/status HTTP/1.0\r\n\r\n")
		_, err = conn.Read(make([]byte, 1))
		return err
	}},
	{"write into the data directory", func(p *Place) error { return write(filepath.Join(p.Dir, "x")) }},
	{"write into its own folder", func(p *Place) error { return write(filepath.Join(filepath.Dir(p.Wiring), "x")) }},
	{"change its own wiring", func(p *Place) error { f, err := os.OpenFile(p.Wiring, os.O_WRONLY, 0); return closed(f, err) }},
	{"write into /tmp", func(*Place) error { return write(scratch) }},
	{"write into /dev/shm", func(*Place) error { return write("/dev/shm/hostile") }},
	{"make a file of memory", func(*Place) error { fd, err := unix.MemfdCreate("x", 0); return closedFD(fd, err) }},
	{"make a folder", func(*Place) error { return removed(os.Mkdir(scratch+".d", 0o700), scratch+".d") }},
	{"make a link", func(*Place) error { return removed(os.Symlink("/", scratch+".l"), scratch+".l") }},
	{"change a mode", func(p *Place) error { return os.Chmod(p.Wiring, 0o777) }},
	{"run a program", func(*Place) error { return exec.Command("/bin/true").Run() }},
	{"become a program", func(*Place) error { return execve("/bin/nothing-there") }},
	{"fork", func(*Place) error { return forked(0) }},
	{"read another process' memory by /proc/PID/mem", each(func(pid int) error { return read(fmt.Sprintf("/proc/%d/mem", pid)) })},
	{"read another process' environment", each(func(pid int) error { return read(fmt.Sprintf("/proc/%d/environ", pid)) })},
	{"read another process' command line", each(func(pid int) error { return read(fmt.Sprintf("/proc/%d/cmdline", pid)) })},
	{"read another process' files by /proc/PID/root", each(func(pid int) error { return list(fmt.Sprintf("/proc/%d/root", pid)) })},
	{"trace another process", each(traced)},
	{"read another process' memory by process_vm_readv", each(vmRead)},
	{"take a descriptor of another process", each(func(pid int) error {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		got, err := unix.PidfdGetfd(fd, 2, 0)
		return closedFD(got, err)
	})},
	{"signal another process", each(func(pid int) error { return unix.Kill(pid, 0) })},
	{"signal the supervisor", func(*Place) error { return unix.Kill(os.Getppid(), 0) }},
	{"raise the priority of another process", each(func(pid int) error { return unix.Setpriority(unix.PRIO_PROCESS, pid, 0) })},
	{"become root", func(*Place) error { return raw(unix.SYS_SETRESUID, 0, 0, 0) }},
	{"become another tier's user", func(*Place) error {
		other := uintptr(os.Getuid() + 1)
		return raw(unix.SYS_SETRESUID, other, other, other)
	}},
	{"take capabilities", func(*Place) error {
		header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_RAW, Permitted: 1 << unix.CAP_NET_RAW}}
		return unix.Capset(&header, &data[0])
	}},
	{"make a mount namespace", func(*Place) error { return onThread(func() error { return unix.Unshare(unix.CLONE_NEWNS) }) }},
	{"mount", func(*Place) error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") }},
	{"change the root", func(*Place) error { return onThread(func() error { return unix.Chroot("/") }) }},
	{"use bpf", func(*Place) error {
		return raw(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&bpfMap)), unsafe.Sizeof(bpfMap))
	}},
	{"use perf_event_open", func(*Place) error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Config: unix.PERF_COUNT_SW_CPU_CLOCK}
		fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, 0)
		return closedFD(fd, err)
	}},
	{"use io_uring", func(*Place) error {
		params := [120]byte{}
		fd, _, number := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		return closedFD(int(fd), number)
	}},
	{"use keys of the kernel", func(*Place) error { return second(unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)) }},
	{"use userfaultfd", func(*Place) error { return rawFD(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) }},
	{"open a raw socket", func(*Place) error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }},
	{"open a packet socket", func(*Place) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
	{"open a netlink socket", func(*Place) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, 0) }},
	{"open a vsock", func(*Place) error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) }},
	{"listen on a port", func(*Place) error { l, err := net.Listen("tcp", "127.0.0.1:0"); return closed(l, err) }},
	{"listen on an abstract socket", func(*Place) error { l, err := net.Listen("unix", "@hostile"); return closed(l, err) }},
	{"make memory that is code", func(*Place) error {
		memory, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err == nil {
			err = unix.Munmap(memory)
		}
		return err
	}},
	{"have core dumps again", func(*Place) error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}) }},
	{"be dumpable again", func(*Place) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }},
	{"set the host's name", func(*Place) error { return unix.Sethostname([]byte(hostname())) }},
	{"reboot", func(*Place) error { return harmless(raw(unix.SYS_REBOOT, 0, 0, 0)) }},
	{"swap", func(*Place) error { return harmless(raw(unix.SYS_SWAPON, uintptr(unsafe.Pointer(&nowhere[0])), 0, 0)) }},
	{"read the kernel's log", func(*Place) error { _, err := unix.Klogctl(3, make([]byte, 64)); return err }},
}

// each tries until one works. That nobody is seen is a refusal too.
func each(try func(pid int) error) func(*Place) error {
	return func(p *Place) error {
		err := errNobody
		for _, pid := range p.Victims {
			if err = try(pid); err == nil {
				return nil
			}
		}
		return err
	}
}

// read wants to open the file; of memory, nothing is at its beginning.
func read(path string) error {
	f, err := os.Open(path)
	return closed(f, err)
}

func list(path string) error {
	_, err := os.ReadDir(path)
	return err
}

func write(path string) error {
	err := os.WriteFile(path, nil, 0o600)
	if err == nil {
		os.Remove(path)
	}
	return err
}

func closed(c interface{ Close() error }, err error) error {
	if err == nil {
		c.Close()
	}
	return err
}

func closedFD(fd int, err error) error {
	if number, ok := err.(syscall.Errno); ok && number == 0 {
		err = nil
	}
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// harmless turns into success what a kernel says that would have done it, to arguments that keep it from harm.
func harmless(err error) error {
	for _, allowed := range []error{unix.EINVAL, unix.EFAULT, unix.ENOENT, unix.ENOEXEC} {
		if errors.Is(err, allowed) {
			return nil
		}
	}
	return err
}

// nowhere is the path of nothing, as the kernel wants it.
var nowhere = []byte("/nothing-there\x00")

// scratch is where everybody can write.
var scratch = fmt.Sprintf("/tmp/intruder-%d", os.Getpid())

func removed(err error, path string) error {
	if err == nil {
		os.Remove(path)
	}
	return err
}

func second(_ int, err error) error { return err }
func execve(path string) error      { return harmless(unix.Exec(path, []string{path}, nil)) }
func hostname() string              { name, _ := os.Hostname(); return name }

func socket(family, kind, proto int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	return closedFD(fd, err)
}

// raw is for the calling thread alone, as nothing here is undone; rawFD closes what it gets.
func raw(number, a, b, c uintptr) error {
	return onThread(func() error {
		if _, _, failed := unix.RawSyscall(number, a, b, c); failed != 0 {
			return failed
		}
		return nil
	})
}

func rawFD(number, a uintptr) error {
	fd, _, failed := unix.RawSyscall(number, a, 0, 0)
	return closedFD(int(fd), failed)
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// forked makes a child that ends at once.
func forked(flags uintptr) error {
	pid, _, failed := unix.RawSyscall(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0)
	if failed != 0 {
		return failed
	}
	if pid == 0 {
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

func traced(pid int) error {
	return onThread(func() error {
		return unix.PtraceSeize(pid) // the end of the thread lets go
	})
}

func vmRead(pid int) error {
	memory := make([]byte, 1)
	local := []unix.Iovec{{Base: &memory[0], Len: 1}}
	// The first page of a Go program of ours, which is at a fixed address.
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 1}}, 0)
	return err
}

// bpfMap asks for an array of one element.
var bpfMap = struct{ kind, key, value, entries, flags uint32 }{2, 4, 4, 1, 0}
