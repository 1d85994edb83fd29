package confine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// sleeper makes this binary a process that does nothing.
const sleeper = "TRIPTYCH_TEST_SLEEPER"

func TestMain(m *testing.M) {
	if os.Getenv(sleeper) != "" {
		time.Sleep(time.Hour)
	}
	goleak.VerifyTestMain(m)
}

// fake is a machine made of folders: its procfs, and cgroups whose files are there before
// the groups are made, as a folder does not make them.
type fake struct {
	t    *testing.T
	root string
}

func newFake(t *testing.T) fake { return fake{t, t.TempDir()} }

func (f fake) path(name string) string { return filepath.Join(f.root, name) }

func (f fake) write(name, content string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(f.path(name)), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.path(name), []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f fake) want(name, content string) {
	f.t.Helper()
	if got, err := os.ReadFile(f.path(name)); err != nil || string(got) != content {
		f.t.Errorf("%s holds %q, want %q: %v", name, got, content, err)
	}
}

// mine is the name of the group of the child called extensions-0.
var mine = fmt.Sprintf("triptych-%d-extensions-0", os.Getpid())

// version1 is a machine whose supervisor is in a container of its own, /box.
func version1(t *testing.T) fake {
	f := newFake(t)
	f.write("proc/self/cgroup", "5:pids:/box\n4:memory:/box\n3:cpu,cpuacct:/box/inner\n1:name=systemd:/\n0::/\n")
	f.write("proc/self/mountinfo", fmt.Sprintf("32 31 0:29 /box %s rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 / %s rw - cgroup cgroup rw,memory\n36 31 0:33 /box %s rw - cgroup cgroup rw,pids\n",
		f.path("cpu"), f.path("memory"), f.path("pids")))
	for _, file := range []string{"cgroup.procs", "cpu.shares", "cpu.cfs_quota_us"} {
		f.write("cpu/inner/"+mine+"/"+file, "")
	}
	for _, file := range []string{"cgroup.procs", "memory.limit_in_bytes", "memory.oom_control"} {
		f.write("memory/box/"+mine+"/"+file, "")
	}
	for _, file := range []string{"cgroup.procs", "pids.max"} {
		f.write("pids/"+mine+"/"+file, "")
	}
	return f
}

// version2 is a machine with cgroups of version 2 alone, the supervisor's at own.
func version2(t *testing.T, own string) fake {
	f := newFake(t)
	f.write("proc/self/cgroup", "0::"+own+"\n")
	f.write("proc/self/mountinfo", fmt.Sprintf("31 23 0:28 / %s rw - cgroup2 cgroup2 rw\n", f.path("sys")))
	service := "sys/system.slice/triptych.service/"
	f.write(service+"cgroup.controllers", "cpuset cpu io memory pids\n")
	f.write(service+"cgroup.subtree_control", "")
	f.write(service+"supervisor/cgroup.procs", "")
	for _, file := range []string{"cgroup.procs", "cpu.weight", "cpu.max", "memory.max", "memory.events", "pids.max"} {
		f.write(service+mine+"/"+file, "")
	}
	return f
}

func (f fake) host(delegated string) *Host {
	return newHost(f.path("proc"), func(folder string) bool { return folder == f.path(delegated) })
}

// actor is a process that ends when it is killed.
type actor struct {
	pid  int
	exit chan lifecycle.Exit
	once sync.Once
}

func newActor() *actor { return &actor{pid: os.Getpid(), exit: make(chan lifecycle.Exit, 1)} }

func (a *actor) PID() int             { return a.pid }
func (a *actor) Wait() lifecycle.Exit { return <-a.exit }
func (a *actor) Signal(sig syscall.Signal) {
	a.once.Do(func() { a.exit <- lifecycle.Exit{Code: -1, Signal: sig} })
}

// all are limits of every kind.
var all = Limits{Yields: true, CPU: 1500, Memory: 1 << 40, Pids: 2048}

func TestAGroupOfVersion1HasLessWeightAndALimit(t *testing.T) {
	f := version1(t)
	h := f.host("")
	a := newActor()
	held := h.Box("extensions-0", all).Hold(a)
	for _, folder := range []string{"cpu/inner/", "memory/box/", "pids/"} {
		f.want(folder+mine+"/cgroup.procs", fmt.Sprint(os.Getpid()))
	}
	for _, step := range []struct {
		yields bool
		shares int
	}{{true, 102}, {false, 1024}} {
		f.write("cpu/inner/"+mine+"/cpu.shares", "") // a folder does not shorten what the kernel would replace
		if err := held.Yield(step.yields); err != nil {
			t.Error(err)
		}
		f.want("cpu/inner/"+mine+"/cpu.shares", fmt.Sprint(step.shares*runtime.NumCPU()))
	}
	f.want("cpu/inner/"+mine+"/cpu.cfs_quota_us", "150000")
	f.want("memory/box/"+mine+"/memory.limit_in_bytes", fmt.Sprint(1<<40))
	f.want("pids/"+mine+"/pids.max", "2048")
	if got, want := h.InForce("extensions-0"), (InForce{"cgroup", 1 << 40, "cgroup and supervisor", 2048, 1500}); got != want {
		t.Errorf("in force is %+v, want %+v", got, want)
	}
	a.Signal(syscall.SIGKILL)
	if exit := held.Wait(); exit.Reason != "" {
		t.Errorf("somebody else killed it, and the reason is %q", exit.Reason)
	}
}

func TestADelegatedGroupOfVersion2IsDividedAndTheSupervisorLeavesIt(t *testing.T) {
	f := version2(t, "/system.slice/triptych.service")
	h := f.host("sys/system.slice/triptych.service")
	service := "sys/system.slice/triptych.service/"
	f.want(service+"supervisor/cgroup.procs", "0")
	a := newActor()
	held := h.Box("extensions-0", all).Hold(a)
	f.want(service+"cgroup.subtree_control", "+pidsry") // over +memory, over +cpu: a kernel would add them up, which a kernel would remember
	f.want(service+mine+"/cgroup.procs", fmt.Sprint(os.Getpid()))
	f.want(service+mine+"/cpu.weight", "100")
	f.write(service+mine+"/cpu.weight", "")
	if err := held.Yield(true); err != nil {
		t.Error(err)
	}
	f.want(service+mine+"/cpu.weight", "10")
	f.want(service+mine+"/cpu.max", "150000 100000")
	f.want(service+mine+"/memory.max", fmt.Sprint(1<<40))
	f.want(service+mine+"/pids.max", "2048")
	if got, want := h.InForce("extensions-0"), (InForce{"cgroup", 1 << 40, "cgroup and supervisor", 2048, 1500}); got != want {
		t.Errorf("in force is %+v, want %+v", got, want)
	}
	// The kernel killed it.
	f.write(service+mine+"/memory.events", "oom 3\noom_kill 1\n")
	a.Signal(syscall.SIGKILL)
	if exit := held.Wait(); !strings.Contains(exit.Reason, "memory limit of 1048576 MiB") {
		t.Errorf("the reason is %q", exit.Reason)
	}
}

// A process that has to yield to nobody is held to its limit all the same; where the kernel refuses, nobody says that it is.
func TestALimitOfTheCPUAlone(t *testing.T) {
	f := version1(t)
	h := f.host("")
	a := newActor()
	held := h.Box("extensions-0", Limits{CPU: 150}).Hold(a)
	f.want("cpu/inner/"+mine+"/cpu.cfs_quota_us", "15000")
	f.want("cpu/inner/"+mine+"/cgroup.procs", fmt.Sprint(os.Getpid()))
	if got, want := h.InForce("extensions-0"), (InForce{CPULimit: 150}); got != want || !h.HoldsCPU() {
		t.Errorf("in force is %+v, want %+v", got, want)
	}
	if err := os.Remove(f.path("cpu/inner/" + mine + "/cpu.cfs_quota_us")); err != nil {
		t.Fatal(err)
	}
	again := newActor()
	refused := h.Box("extensions-0", Limits{CPU: 150}).Hold(again)
	if got := h.InForce("extensions-0"); got != (InForce{}) || newFake(t).host("").HoldsCPU() {
		t.Errorf("in force is %+v", got)
	}
	for i, a := range []*actor{a, again} {
		a.Signal(syscall.SIGTERM)
		[]*Held{held, refused}[i].Wait()
	}
}

func TestASupervisorInASubgroupStaysInIt(t *testing.T) {
	f := version2(t, "/system.slice/triptych.service/supervisor")
	h := f.host("sys/system.slice/triptych.service")
	f.want("sys/system.slice/triptych.service/supervisor/cgroup.procs", "")
	if !h.Box("extensions-0", all).group.has(cpu) {
		t.Error("there is no group")
	}
}

func TestAGroupThatNobodyDelegatedIsLeftAlone(t *testing.T) {
	f := version2(t, "/system.slice/triptych.service")
	h := f.host("elsewhere")
	a := newActor()
	held := h.Box("extensions-0", all).Hold(a)
	f.want("sys/system.slice/triptych.service/supervisor/cgroup.procs", "")
	f.want("sys/system.slice/triptych.service/"+mine+"/cgroup.procs", "")
	if got, want := h.InForce("extensions-0"), (InForce{"nice", 1 << 40, "supervisor", 0, 0}); got != want {
		t.Errorf("in force is %+v, want %+v", got, want)
	}
	a.Signal(syscall.SIGTERM)
	held.Wait()
}

// All threads are meant, and a child of this test has as many as a tier.
func TestWithoutCgroupsAProcessIsNiceInAllItsThreads(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sleeper+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{pid: cmd.Process.Pid, exit: make(chan lifecycle.Exit, 1)}
	held := newFake(t).host("").Box("extensions-0", Limits{Yields: true}).Hold(a)
	threads := func() []string {
		all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", cmd.Process.Pid))
		return all
	}
	for deadline := time.Now().Add(30 * time.Second); len(threads()) < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it has the threads %q", threads())
		}
	}
	if err := held.Yield(true); err != nil {
		t.Error(err)
	}
	for _, thread := range threads() {
		id, _ := strconv.Atoi(filepath.Base(thread))
		// The system call answers 20 less the nice value.
		if got, err := unix.Getpriority(unix.PRIO_PROCESS, id); err != nil || got != 20-nice {
			t.Errorf("thread %d has the nice value %d: %v", id, 20-got, err)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	a.Signal(syscall.SIGKILL)
	held.Wait()
}

func TestTheSupervisorKillsWhatPassesItsLimit(t *testing.T) {
	h := newFake(t).host("")
	held := h.Box("extensions-0", Limits{Memory: 1 << 20}).Hold(newActor())
	if got, want := h.InForce("extensions-0"), (InForce{"", 1 << 20, "supervisor", 0, 0}); got != want {
		t.Errorf("in force is %+v, want %+v", got, want)
	}
	if exit := held.Wait(); exit.Signal != syscall.SIGKILL || exit.Reason != "it passed its memory limit of 1 MiB" {
		t.Errorf("it ends with %+v", exit)
	}
}

func TestGroupsOfASupervisorThatIsGoneAreRemoved(t *testing.T) {
	f := version1(t)
	for _, folder := range []string{"cpu/inner/triptych-4-core-0", "cpu/inner/triptych-5-core-0", "cpu/inner/other"} {
		if err := os.MkdirAll(f.path(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.write("proc/5/stat", "")
	f.host("")
	left, _ := filepath.Glob(f.path("cpu/inner/*"))
	if got := len(left); got != 3 || strings.Contains(strings.Join(left, " "), "triptych-4-") {
		t.Errorf("left are %q", left)
	}
}
