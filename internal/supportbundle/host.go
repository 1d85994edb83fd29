package supportbundle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/util/cert"
)

// facts are files of the kernel and the distribution that tell what machine this is.
var facts = []string{
	"/etc/os-release", "/proc/version", "/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/self/limits", "/proc/self/cgroup",
	"/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io", "/proc/sys/fs/file-nr", "/proc/sys/net/ipv4/ip_local_port_range",
	"/proc/sys/net/core/somaxconn", "/sys/kernel/security/lsm", "/sys/fs/cgroup/cgroup.controllers",
}

// host tells what machine this is and how it is doing. What is not there is left out.
func host(dataDir string) []byte {
	var b bytes.Buffer
	for _, name := range facts {
		if text, err := os.ReadFile(name); err == nil {
			fmt.Fprintf(&b, "# %s\n%s\n\n", name, bytes.TrimSpace(text))
		}
	}
	if cpus, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		fmt.Fprintf(&b, "# processors\n%d\n\n", bytes.Count(cpus, []byte("\nprocessor"))+1)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dataDir, &disk); err == nil {
		size := uint64(disk.Bsize)
		fmt.Fprintf(&b, "# disk of %s\nof %d MiB %d are free, of %d inodes %d, type %#x\n", dataDir, disk.Blocks*size>>20, disk.Bavail*size>>20, disk.Files, disk.Ffree, disk.Type)
	}
	return b.Bytes()
}

// listing tells of the files of the data directory who may read them, and nothing of what is in them.
func listing(root string) ([]byte, error) {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(t, err)
			return nil
		}
		info, err := os.Lstat(path)
		if err != nil {
			return nil // gone meanwhile
		}
		owner := ""
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
		}
		relative, err := filepath.Rel(root, path)
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", info.Mode(), owner, info.Size(), info.ModTime().UTC().Format(time.RFC3339), relative)
		return err
	})
	err = errors.Join(err, t.Flush())
	return b.Bytes(), err
}

// certificates tells of each below a folder whose it is and until when it is good.
func certificates(folder string) ([]byte, error) {
	var b bytes.Buffer
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".crt") {
			return nil
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		all, err := cert.CertsFromFile(path)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", relative, err)
		}
		for _, c := range all {
			fmt.Fprintf(&b, "%s: %s by %s, from %s until %s, for %v %v %v\n", relative, c.Subject, c.Issuer,
				c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), c.DNSNames, c.IPAddresses, c.URIs)
		}
		return nil
	})
	return b.Bytes(), err
}
