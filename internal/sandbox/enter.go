package sandbox

import (
	"fmt"
	"os"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Profile is what a process needs.
type Profile struct {
	// Read are folders whose files it reads, Write those that it writes too.
	Read, Write []string
	// Ports are TCP ports that it binds itself; it may listen on what it inherits.
	Ports []uint16
	// CallsNobody: it opens no TCP connection.
	CallsNobody bool
	// Unix: it dials or serves Unix sockets.
	Unix bool
	// Stores: it keeps files of its own, with all that a database does to them.
	Stores bool
}

// system are files that every Go program with TLS reads: names of hosts, CAs, time
// zones. Those that are missing are left out.
var system = []string{"/etc", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/share/zoneinfo", "/usr/lib/zoneinfo",
	"/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage", "/sys/devices/system/cpu"}

// systemFiles are single ones.
var systemFiles = []string{"/proc/stat", "/proc/meminfo", "/proc/cpuinfo", "/proc/sys/net/core/somaxconn", "/dev/urandom"}

// own keeps the folder of this process in procfs in the memory of the kernel: a rule is for an inode,
// and the folder would have another one after its name was forgotten.
var own *os.File

// Enter puts this process, with all of its threads, into the sandbox. What the kernel cannot do is left
// out: see Missing. An error means that the process must end.
func Enter(mode Mode, p Profile) error {
	if mode == Off || mode == "" {
		return nil
	}
	if err := Seal(); err != nil {
		return err
	}
	if mode == Enforce && landlockABI() > 0 {
		if err := restrictFiles(p); err != nil {
			return fmt.Errorf("cannot enter the sandbox: %w", err)
		}
	}
	if !seccomp.Supported() {
		return nil
	}
	if err := restrictCalls(mode, p); err != nil {
		return fmt.Errorf("cannot enter the sandbox: %w", err)
	}
	return nil
}

// Seal keeps other processes of the same user from this one's memory, and its memory
// from the disk.
func Seal() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot keep others from the process' memory: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("cannot do without core dumps: %w", err)
	}
	return nil
}

const (
	readFolder = llsys.AccessFSReadFile | llsys.AccessFSReadDir
	// writeFolder is all that makes and changes files, but for devices and pipes.
	writeFolder = readFolder | llsys.AccessFSWriteFile | llsys.AccessFSTruncate | llsys.AccessFSRemoveDir | llsys.AccessFSRemoveFile |
		llsys.AccessFSMakeDir | llsys.AccessFSMakeReg | llsys.AccessFSMakeSock | llsys.AccessFSRefer
)

func restrictFiles(p Profile) (err error) {
	if own, err = os.Open("/proc/self/"); err != nil {
		return err
	}
	abi := landlockABI()
	rules := []landlock.Rule{
		landlock.PathAccess(readFolder, append([]string{"/proc/self/"}, p.Read...)...),
		landlock.PathAccess(readFolder, system...).IgnoreIfMissing(),
		landlock.PathAccess(llsys.AccessFSReadFile, systemFiles...).IgnoreIfMissing(),
		landlock.PathAccess(llsys.AccessFSReadFile|llsys.AccessFSWriteFile, "/dev/null"),
	}
	if len(p.Write) > 0 {
		rights := landlock.AccessFSSet(writeFolder)
		if abi < 2 {
			rights &^= llsys.AccessFSRefer
		}
		rules = append(rules, landlock.PathAccess(rights, p.Write...))
	}
	ports := landlock.AccessNetSet(llsys.AccessNetBindTCP)
	if p.CallsNobody {
		ports |= llsys.AccessNetConnectTCP
	}
	for _, port := range p.Ports {
		rules = append(rules, landlock.BindTCP(port))
	}
	config, err := landlock.NewConfig(allFiles(abi), ports, landlock.ScopedSet(llsys.ScopeAbstractUnixSocket|llsys.ScopeSignal))
	if err != nil {
		return err
	}
	return config.BestEffort().Restrict(rules...)
}

// allFiles is every right on files that Landlock of that version knows of.
func allFiles(abi int) landlock.AccessFSSet {
	switch {
	case abi == 1:
		return 1<<13 - 1
	case abi == 2:
		return 1<<14 - 1
	case abi < 5:
		return 1<<15 - 1
	}
	return 1<<16 - 1
}
