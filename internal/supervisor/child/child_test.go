package child

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// roles are what this binary is when it is run again.
var roles = map[string]func(){
	"sleep": func() { time.Sleep(time.Hour) },
	"environment": func() {
		fmt.Println("environment:", os.Environ())
	},
	"error": func() {
		fmt.Fprint(os.Stderr, "some line\nerror: the first\nerror: the last\nmore")
		os.Exit(64)
	},
	"panic": func() { panic("out of luck") },
	// family starts a process of its own and ends.
	"family": func() {
		cmd := exec.Command(os.Args[0], "sleep")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		fmt.Println("grandchild:", cmd.Process.Pid)
	},
	// lifeline tells what it reads from there, and from the file after it.
	"lifeline": func() {
		content, err := io.ReadAll(os.NewFile(FirstFD, "file"))
		fmt.Printf("file: %q %v\n", content, err)
		_, err = os.NewFile(LifelineFD, "lifeline").Read(make([]byte, 1))
		fmt.Println("lifeline:", err)
	},
	// supervisor starts a sleeper from a Forker and tells its number, then
	// lets other threads come and go.
	"supervisor": func() {
		f := newForker()
		p, err := f.Start(Spec{Path: os.Args[0], Args: []string{"sleep"}, Log: OpenLog(os.Args[2])})
		if err != nil {
			panic(err)
		}
		fmt.Println("child:", p.PID())
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			role()
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// start runs this binary in a role.
func start(t *testing.T, spec Spec, role ...string) (*Process, string) {
	t.Helper()
	f := newForker()
	path := filepath.Join(t.TempDir(), "child.log")
	spec.Path, spec.Args, spec.Log = os.Args[0], role, OpenLog(path)
	p, err := f.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		p.Wait()
		f.Close()
		spec.Log.Close()
	})
	return p, path
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestExitsAreTold(t *testing.T) {
	p, path := start(t, Spec{}, "error")
	if e := p.Wait(); e.Code != 64 || e.Signal != 0 || e.Reason != "the last" || time.Since(e.Time) > time.Hour {
		t.Errorf("%+v", e)
	}
	if got := content(t, path); !strings.HasSuffix(got, "more") {
		t.Errorf("the log ends with %q", got)
	}
	p, _ = start(t, Spec{}, "panic")
	if e := p.Wait(); e.Code != 2 || !strings.HasPrefix(e.Reason, "panic: out of luck") {
		t.Errorf("%+v", e)
	}
	p, _ = start(t, Spec{}, "sleep")
	p.Signal(syscall.SIGTERM)
	if e := p.Wait(); e.Code != -1 || e.Signal != syscall.SIGTERM || e.Reason != "" {
		t.Errorf("%+v", e)
	}
	p.Signal(syscall.SIGKILL) // after the end it is nobody's
}

func TestAProgramThatIsMissing(t *testing.T) {
	f := newForker()
	defer f.Close()
	if _, err := f.Start(Spec{Path: "/nonexistent", Log: OpenLog(filepath.Join(t.TempDir(), "l"))}); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("%v", err)
	}
}

// A link that leaves the folder is followed, because it may not be seen in the Room; one beside its file is the name that
// the kernel is to call the process by.
func TestAProgramGoesByItsName(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	for _, made := range []error{
		os.Mkdir(real, 0o700), os.WriteFile(filepath.Join(real, "tiers"), nil, 0o700), os.WriteFile(filepath.Join(real, "other"), nil, 0o700),
		os.Symlink("tiers", filepath.Join(real, "core")),
		os.Symlink(filepath.Join(real, "core"), filepath.Join(dir, "core")),
		os.Symlink(filepath.Join(real, "tiers"), filepath.Join(dir, "alone")),
		os.Symlink(filepath.Join(real, "tiers"), filepath.Join(dir, "other")),
	} {
		if made != nil {
			t.Fatal(made)
		}
	}
	for path, want := range map[string]string{
		filepath.Join(real, "core"): filepath.Join(real, "core"), filepath.Join(dir, "core"): filepath.Join(real, "core"),
		filepath.Join(dir, "alone"): filepath.Join(real, "tiers"), filepath.Join(dir, "other"): filepath.Join(real, "tiers"),
		filepath.Join(dir, "none"): filepath.Join(dir, "none"),
	} {
		if got := program(path); got != want {
			t.Errorf("%s is run as %s, want %s", path, got, want)
		}
	}
}

func TestChildrenGetTheirOwnEnvironmentAlone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/s")
	p, path := start(t, Spec{Env: []string{"TZ=UTC"}}, "environment")
	p.Wait()
	if got := content(t, path); got != "environment: [TZ=UTC]\n" {
		t.Errorf("%q", got)
	}
	attributed := WithAttributes([]string{"OTEL_RESOURCE_ATTRIBUTES=site=a", "TZ=UTC"}, "b=c")
	if want := []string{"TZ=UTC", "OTEL_RESOURCE_ATTRIBUTES=site=a,b=c"}; !slices.Equal(attributed, want) {
		t.Errorf("%q, want %q", attributed, want)
	}
	for _, given := range []string{"", " ", "site=a,", ",site=a"} {
		for _, pair := range strings.Split(strings.TrimPrefix(WithAttributes([]string{"OTEL_RESOURCE_ATTRIBUTES=" + given}, "b=c")[0], "OTEL_RESOURCE_ATTRIBUTES="), ",") {
			if !strings.Contains(pair, "=") {
				t.Errorf("%q has %q added, by which no process with tracing would start", given, pair)
			}
		}
	}
	if got := WithCPUs([]string{"TZ=UTC"}, 2); !slices.Equal(got, []string{"TZ=UTC", "GOMAXPROCS=2"}) {
		t.Errorf("%q", got)
	}
	for env, n := range map[string]int{"GOMAXPROCS=7": 2, "TZ=UTC": 0} {
		if got := WithCPUs([]string{env}, n); !slices.Equal(got, []string{env}) {
			t.Errorf("%d: %q, want %q alone", n, got, env)
		}
	}
	kept := Environment([]string{"PATH=/bin", "NOTIFY_SOCKET=/s", "KUBE_FEATURE_X=1", "AWS_SECRET=1", "https_proxy=p"})
	if want := []string{"PATH=/bin", "KUBE_FEATURE_X=1", "https_proxy=p"}; !slices.Equal(kept, want) {
		t.Errorf("%q, want %q", kept, want)
	}
}

func TestAChildLeadsAGroupAndTakesItAlong(t *testing.T) {
	p, path := start(t, Spec{}, "family")
	if group, err := syscall.Getpgid(p.PID()); err == nil && group != p.PID() {
		t.Errorf("group %d of process %d", group, p.PID())
	}
	if e := p.Wait(); e.Code != 0 {
		t.Errorf("%+v", e)
	}
	_, number, _ := strings.Cut(content(t, path), "grandchild: ")
	pid, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
}

// gone waits for the end of a process that is not ours to wait for.
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is left behind", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestFilesAndTheLifelineAreInherited(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, path := start(t, Spec{Files: []*os.File{read}}, "lifeline")
	fmt.Fprint(write, "hello")
	write.Close()
	read.Close()
	p.lifeline.Close() // what the kernel does when the supervisor ends
	p.Wait()
	if got, want := content(t, path), "file: \"hello\" <nil>\nlifeline: EOF\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestNoChildOutlivesAKilledSupervisor: this sleeper does not look at its
// lifeline, the parent death signal must do.
func TestNoChildOutlivesAKilledSupervisor(t *testing.T) {
	cmd := exec.Command(os.Args[0], "supervisor", filepath.Join(t.TempDir(), "log"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(bufio.NewReader(out), "child: %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("there is no child")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	gone(t, pid)
}

// TestEveryForkIsFromOneThread whoever asks for it, from whichever thread.
func TestEveryForkIsFromOneThread(t *testing.T) {
	f := newForker()
	defer f.Close()
	threads := make(chan int)
	var askers sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		askers.Go(func() {
			runtime.LockOSThread() // a thread of its own, which ends with it
			for range 100 {
				told := make(chan struct{})
				f.work <- func() { threads <- unix.Gettid(); close(told) }
				<-told
			}
		})
	}
	go func() {
		askers.Wait()
		close(threads)
	}()
	seen := map[int]bool{}
	for thread := range threads {
		seen[thread] = true
	}
	if len(seen) != 1 {
		t.Errorf("forks are from %d threads", len(seen))
	}
}

func TestALogNeverFailsItsWriter(t *testing.T) {
	l := OpenLog("/dev/null/log")
	if n, err := l.Write([]byte("error: a\n")); n != 9 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestTheLastWordIsFoundAcrossWritesAndBounded(t *testing.T) {
	l := OpenLog(filepath.Join(t.TempDir(), "log"))
	defer l.Close()
	for _, part := range []string{"an err", "or: no\nerr", "or: ye", "s\n", strings.Repeat("x", 5*maxWord), "\nno error: this\n"} {
		_, _ = l.Write([]byte(part))
	}
	if got := l.lastWord(); got != "yes" {
		t.Errorf("%q", got)
	}
	if len(l.line) > maxWord {
		t.Errorf("%d bytes are kept", len(l.line))
	}
	l.forget()
	if got := l.lastWord(); got != "" {
		t.Errorf("the last word of another process: %q", got)
	}
}

// newForker is of children that are who we are.
func newForker() *Forker {
	f, err := NewForker(false)
	if err != nil {
		panic(err)
	}
	return f
}
