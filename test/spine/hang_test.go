package spine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

var processes = []string{"extensions", "core", "aggregator", "etcd"}

// pidOf is the process of a tier, or of etcd.
func pidOf(s harness.Status, name string) int {
	if name == "etcd" {
		return s.Etcd.PID
	}
	return s.Replica(name).PID
}

// childrenOf lists the children of a process, zombies too.
func childrenOf(parent int) []int {
	var children []int
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, entry := range entries {
		raw, err := os.ReadFile(entry)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold spaces.
		fields := strings.Fields(string(raw[strings.LastIndex(string(raw), ")")+1:]))
		if ppid, _ := strconv.Atoi(fields[1]); ppid == parent {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
			children = append(children, pid)
		}
	}
	return children
}

// programOf names what a process runs, like processes.
func programOf(pid int) string {
	args := harness.ArgsOf(pid)
	switch {
	case len(args) > 1 && args[1] == "etcd":
		return "etcd"
	case len(args) > 0:
		return filepath.Base(args[0])
	default:
		return ""
	}
}

func pause(t *testing.T, s harness.Status, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := syscall.Kill(pidOf(s, name), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitSuccessors waits until each of names runs in another process than
// before. By then the old one must be gone, and not only dying: two processes of
// a tier would write side by side.
func awaitSuccessors(t *testing.T, c *harness.Cluster, before harness.Status, names []string) {
	t.Helper()
	waiting := slices.Clone(names)
	harness.Eventually(t, harness.StartBound, "successors are started", func() error {
		for _, pid := range childrenOf(c.PID()) {
			name := programOf(pid)
			old := pidOf(before, name)
			if pid == old || !slices.Contains(waiting, name) {
				continue
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", old)); err == nil {
				t.Errorf("%s is started as %d while %d is still there", name, pid, old)
			}
			waiting = slices.DeleteFunc(waiting, func(n string) bool { return n == name })
		}
		if len(waiting) > 0 {
			return fmt.Errorf("%v are not replaced, children are %v", waiting, childrenOf(c.PID()))
		}
		return nil
	})
}

// A process that hangs is as dead as one that ended: after 15 s without health
// it is killed, waited for and replaced, alone.
func TestHangingProcessIsReplaced(t *testing.T) {
	t.Parallel() // it waits more than it works
	// The last sign of life may have been given up to a check and a pause before
	// the hang, and the check that finds it dead may end as much too late.
	const patience, impatience = 45 * time.Second, 8 * time.Second
	c := harness.Run(t, harness.Options{})
	c.Kubectl(t, "create", "configmap", "read")
	for _, names := range [][]string{{"extensions", "aggregator"}, {"core"}, {"etcd"}} {
		t.Run(strings.Join(names, " and "), func(t *testing.T) {
			before := c.WaitReady(t)
			since := time.Now()
			pause(t, before, names...)
			awaitSuccessors(t, c, before, names)
			if took := time.Since(since); took < impatience || took > patience {
				t.Errorf("replaced after %v, want 15 s or a little more", took)
			}
			after := c.WaitStatus(t, harness.StartBound, "all are ready again", func(s harness.Status) bool {
				return s.Phase == "Ready" && !slices.ContainsFunc(names, func(name string) bool { return pidOf(s, name) == pidOf(before, name) })
			})
			for _, other := range processes {
				if !slices.Contains(names, other) && pidOf(after, other) != pidOf(before, other) {
					t.Errorf("%s has been replaced too", other)
				}
			}
			served(t, &c.API, "/api/v1/namespaces/default/configmaps/read")
			served(t, &c.API, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
		})
	}
}

// A pause of five seconds, as of a busy machine, is no death.
func TestShortHangIsSurvived(t *testing.T) {
	t.Parallel() // it waits more than it works
	const short = 5 * time.Second
	c := harness.Run(t, harness.Options{})
	c.Kubectl(t, "create", "configmap", "read")
	before := c.WaitReady(t)
	// The tiers feel it when etcd hangs: that must not kill them either.
	for _, names := range [][]string{{"extensions", "core", "aggregator"}, {"etcd"}} {
		pause(t, before, names...)
		ctx, cancel := context.WithTimeout(t.Context(), short)
		<-ctx.Done()
		cancel()
		for _, name := range names {
			if err := syscall.Kill(pidOf(before, name), syscall.SIGCONT); err != nil {
				t.Errorf("%s has not survived: %v", name, err)
			}
		}
		served(t, &c.API, "/api/v1/namespaces/default/configmaps/read")
		served(t, &c.API, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
	}
	after := c.WaitReady(t)
	for _, name := range processes {
		if pidOf(after, name) != pidOf(before, name) {
			t.Errorf("%s is process %d, was %d", name, pidOf(after, name), pidOf(before, name))
		}
	}
}
