package faults

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// smallDisk mounts a file system of so many MiB at dir for the test.
func smallDisk(t *testing.T, dir string, size int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("mode=0711,size=%dm", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// fill takes all space of the disk under dir; free gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f := harness.Must(os.Create(path))(t)
	block := make([]byte, 1<<16)
	var err error
	for ; err == nil; _, err = f.Write(block) {
	}
	for _, err = f.Write(block[:1]); err == nil; _, err = f.Write(block[:1]) { // the rest of a page
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	f.Close()
	return func() { os.Remove(path) }
}

// A disk that is full costs what is written to it, and nothing that was acknowledged:
// etcd's ends etcd until there is space, those of logs and audit end nothing.
func TestFullDisksUnderLoad(t *testing.T) {
	t.Parallel()
	dir := harness.TempDir(t)
	// A directory that holds anything has to be known as a triptych's.
	harness.WriteFile(t, dir+"/triptych.yaml", []byte("format: 1"), 0o600)
	disks := map[string]string{"etcd": dir + "/etcd", "logs": dir + "/log", "audit": harness.TempDir(t)}
	smallDisk(t, disks["etcd"], 300)
	smallDisk(t, disks["logs"], 64)
	smallDisk(t, disks["audit"], 64)
	policy := harness.TempDir(t) + "/audit.yaml"
	harness.WriteFile(t, policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o644)
	p := openPlane(t, harness.Options{Dir: dir, Args: []string{
		"--audit-policy-file=" + policy, "--audit-log-path=" + disks["audit"] + "/audit.log", "--v=4"}})
	for range often(1, 5) {
		for _, what := range []string{"logs", "audit"} {
			p.Play(t, Fault{Name: "full disk of " + what, Budget: 10 * time.Second, Break: func(t *testing.T) {
				free := fill(t, disks[what])
				last(2 * time.Second)
				free()
			}})
		}
		p.Play(t, Fault{Name: "full disk of etcd", Budget: time.Minute, Break: func(t *testing.T) {
			before := p.pid(t, "etcd")
			free := fill(t, disks["etcd"])
			// It ends when it cannot write; its log of writes has space of its own set aside.
			_ = harness.Await(t.Context(), 20*time.Second, "etcd ends", func() error {
				if p.pid(t, "etcd") == before && harness.Alive(before) {
					return fmt.Errorf("%d is alive", before)
				}
				return nil
			})
			free()
		}})
	}
	p.settled(t)
}

// An etcd that has reached its quota refuses writes, and takes them again after the
// remedy that the status names.
func TestQuotaReachedUnderLoad(t *testing.T) {
	t.Parallel()
	p := openPlane(t, harness.Options{Args: []string{"--etcd-quota-backend-bytes=16777216"}})
	for range often(1, 5) {
		p.Play(t, Fault{Name: "NOSPACE of etcd", Budget: 30 * time.Second, Break: p.reachQuota})
	}
	p.settled(t)
}

func (p *Plane) reachQuota(t *testing.T) {
	t.Helper()
	config := p.API.Config(t)
	n := 0
	for ; n < 200; n++ {
		body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bulk-%d"},"data":{"a":%q}}`, n, strings.Repeat("x", 1<<19))
		answer, err := harness.Send(t.Context(), config, http.MethodPost, kinds[0].path, body, "Content-Type", "application/json")
		if err == nil && answer.Code == http.StatusInternalServerError {
			break
		}
	}
	if n == 200 {
		t.Fatal("etcd is not full")
	}
	for i := range n + 1 {
		if _, err := harness.Send(t.Context(), config, http.MethodDelete, fmt.Sprintf("%s/bulk-%d", kinds[0].path, i), ""); err != nil {
			t.Error(err)
		}
	}
	harness.Eventually(t, time.Minute, "there is space again", func() error {
		if out, said, code := p.Cluster.Supervisor(t.Context(), "etcd", "compact"); code != 0 {
			return fmt.Errorf("compact exits with %d: %s%s", code, out, said)
		}
		return nil
	})
}
