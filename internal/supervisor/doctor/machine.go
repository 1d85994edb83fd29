package doctor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/sandbox"
)

const (
	// enoughFiles is one descriptor a client and one a watch on every hop.
	enoughFiles = 65536
	fewFiles    = 4096
	// enoughMemory is what three idle processes, the supervisor and etcd take, and some.
	enoughMemory = 2 << 30
	littleMemory = 512 << 20
	// enoughDisk is the most that etcd takes unless told otherwise; a full disk ends it.
	enoughDisk = 8 << 30
	littleDisk = 1 << 30
	// slowSync is what etcd's authors want of a disk: 99 of 100 within it.
	slowSync = 10 * time.Millisecond
	syncs    = 30
)

func kernel(context.Context, Patient) []Finding {
	var all []Finding
	for _, missing := range sandbox.Missing() {
		all = append(all, warning("kernel", "boot a kernel from 6.12 on with CONFIG_SECURITY_LANDLOCK and CONFIG_SECCOMP_FILTER, and landlock among its lsm=", "%s", missing))
	}
	if len(all) == 0 {
		all = append(all, ok("kernel", "Landlock and seccomp are there"))
	}
	return append(all, cgroups("/sys/fs/cgroup")...)
}

// cgroups looks whether limits of memory and threads can be had.
func cgroups(root string) []Finding {
	const remedy = "run it as a service of systemd with Delegate=cpu memory pids, as supervisor install does"
	content, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err == nil {
		var missing []string
		for _, want := range []string{"cpu", "memory", "pids"} {
			if !slices.Contains(strings.Fields(string(content)), want) {
				missing = append(missing, want)
			}
		}
		if len(missing) > 0 {
			return []Finding{warning("cgroups", remedy, "version 2 without %s", strings.Join(missing, ", "))}
		}
		return []Finding{ok("cgroups", "version 2 with cpu, memory and pids")}
	}
	if _, err := os.Stat(filepath.Join(root, "memory")); err == nil {
		return []Finding{ok("cgroups", "version 1")}
	}
	return []Finding{warning("cgroups", remedy, "there are none: limits of memory are held by the supervisor alone, those of threads by nobody")}
}

func limits(context.Context, Patient) []Finding {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return []Finding{warning("limits", "look at ulimit -n", "cannot tell how many files a process may open: %v", err)}
	}
	const remedy = "raise it: LimitNOFILE=1048576 in the unit, or ulimit -Hn"
	switch {
	case files.Max < fewFiles:
		return []Finding{problem("limits", remedy, "a process may open %d files, and each client and each watch takes one", files.Max)}
	case files.Max < enoughFiles:
		return []Finding{warning("limits", remedy, "a process may open %d files, and each client and each watch takes one", files.Max)}
	}
	return []Finding{ok("limits", "a process may open %d files", files.Max)}
}

func clock(context.Context, Patient) []Finding {
	t := unix.Timex{}
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		return []Finding{warning("clock", "see that chrony or systemd-timesyncd runs", "cannot tell whether the clock is set by anybody: %v", err)}
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return []Finding{warning("clock", "run chrony or systemd-timesyncd: certificates, tokens and leases go by the clock", "nobody sets the clock")}
	}
	return []Finding{ok("clock", "it is set, to %s", time.Duration(t.Maxerror)*time.Microsecond)}
}

func memory(context.Context, Patient) []Finding {
	free, err := available("/proc/meminfo")
	const remedy = "give the machine more, or hold processes to --memory-limit"
	switch {
	case err != nil:
		return []Finding{warning("memory", "look at /proc/meminfo", "cannot tell how much there is: %v", err)}
	case free < littleMemory:
		return []Finding{problem("memory", remedy, "%d MiB are available", free>>20)}
	case free < enoughMemory:
		return []Finding{warning("memory", remedy, "%d MiB are available, and %d are wanted to start with", free>>20, enoughMemory>>20)}
	}
	return []Finding{ok("memory", "%d MiB are available", free>>20)}
}

// available reads the line MemAvailable of a file such as /proc/meminfo, in bytes.
func available(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "MemAvailable:"); found {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no MemAvailable", path)
}

// disk looks at where the data is or will be.
func disk(_ context.Context, p Patient) []Finding {
	folder := p.Dir.Root
	for {
		if _, err := os.Stat(folder); err == nil || folder == filepath.Dir(folder) {
			break
		}
		folder = filepath.Dir(folder)
	}
	var all []Finding
	var is unix.Statfs_t
	if err := unix.Statfs(folder, &is); err != nil {
		return []Finding{problem("disk", "see that the disk is there and mounted", "cannot look at the disk of %s: %v", folder, err)}
	}
	const remedy = "free some space, or choose a --data-dir on another disk: etcd ends when it is full"
	switch free := int64(is.Bavail) * is.Bsize; {
	case free < littleDisk:
		all = append(all, problem("disk", remedy, "%d MiB are free for %s", free>>20, folder))
	case free < enoughDisk:
		all = append(all, warning("disk", remedy, "%d MiB are free for %s, and etcd may take %d", free>>20, folder, enoughDisk>>20))
	default:
		all = append(all, ok("disk", "%d MiB are free for %s", free>>20, folder))
	}
	if len(p.Options.EtcdServers) > 0 {
		return all // the data is elsewhere
	}
	return append(all, fsync(folder))
}

// fsync measures what etcd does for every write. In a folder that does not let us it is not known.
func fsync(folder string) Finding {
	f, err := os.CreateTemp(folder, ".triptych-doctor-*")
	if err != nil {
		return warning("fsync", fmt.Sprintf("make it writable for user %d, or run as root", os.Geteuid()), "cannot write in %s: %v", folder, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page, took := make([]byte, 2048), make([]time.Duration, 0, syncs)
	for range syncs {
		begun := time.Now()
		if _, err := f.Write(page); err != nil {
			return problem("fsync", "free some space, or choose a --data-dir on another disk", "cannot write in %s: %v", folder, err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return problem("fsync", "look at the disk: dmesg says more", "cannot sync in %s: %v", folder, err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	median, worst := took[syncs/2].Round(time.Microsecond), took[syncs-1].Round(time.Microsecond)
	if median > slowSync {
		return warning("fsync", "put --data-dir on a faster disk that nothing else writes to: every write waits for it", "a write of %s takes %s, the longest of %d took %s", folder, median, syncs, worst)
	}
	return ok("fsync", "a write takes %s, the longest of %d took %s", median, syncs, worst)
}
