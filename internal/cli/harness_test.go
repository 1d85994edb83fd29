package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/tier"
)

// patience bounds every wait. It is far above what anything takes on a busy
// machine, for a test that runs into it has failed.
const patience = 60 * time.Second

// installation is a folder of programs and a data directory.
type installation struct {
	t            *testing.T
	bin, dataDir string
}

func install(t *testing.T) *installation {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{t: t, bin: t.TempDir()}
	// t.TempDir is too long for a socket in it when the test's name is.
	if i.dataDir, err = os.MkdirTemp("", "triptych"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(i.dataDir) })
	for _, name := range []string{"supervisor", "core", "extensions", "aggregator"} {
		if err := os.Symlink(self, filepath.Join(i.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func (i *installation) behave(name tier.Name, b behavior) {
	i.t.Helper()
	data, err := json.Marshal(b)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(behaviorFile(i.bin, name), data, 0o600); err != nil {
		i.t.Fatal(err)
	}
}

func (i *installation) command(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(i.bin, "supervisor"), append(args, "--data-dir", i.dataDir)...)
}

// result is a command that has ended.
type result struct {
	code           int
	stdout, stderr string
}

// do runs a command to its end.
func (i *installation) do(args ...string) result {
	i.t.Helper()
	cmd := i.command(args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run()
	return result{cmd.ProcessState.ExitCode(), out.String(), err.String()}
}

// supervisor is a running `supervisor run`.
type supervisor struct {
	*installation
	cmd    *exec.Cmd
	exited chan struct{}
	out    *transcript
	stderr *transcript
}

// run starts `supervisor run` on a free port.
func (i *installation) run(args ...string) *supervisor {
	i.t.Helper()
	args = append([]string{"run", "--secure-port=0", "--bin-dir", i.bin}, args...)
	s := &supervisor{installation: i, cmd: i.command(args...), exited: make(chan struct{}), out: &transcript{}, stderr: &transcript{}}
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.stderr
	if err := s.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	i.t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.exited
		if i.t.Failed() {
			i.t.Logf("stdout:\n%s\nstderr:\n%s", s.out, s.stderr)
		}
	})
	return s
}

func (s *supervisor) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// wait returns the exit code.
func (s *supervisor) wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatal("the supervisor does not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

// line waits until a line with text was printed, count times in all.
func (s *supervisor) line(text string, count int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%q printed %d times", text, count), func() bool {
		return strings.Count(s.out.String(), text) >= count
	})
}

// until waits for a condition, which must come true before the supervisor ends.
func (s *supervisor) until(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-s.exited:
			if !ok() {
				s.t.Fatalf("the supervisor ended before: %s", what)
			}
			return
		case <-deadline:
			s.t.Fatalf("waited in vain for: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// status returns what `status -o json` says, and its exit code.
func (s *supervisor) status() (control.Status, int) {
	s.t.Helper()
	r := s.do("status", "-o", "json")
	status := control.Status{}
	if r.stdout != "" {
		if err := json.Unmarshal([]byte(r.stdout), &status); err != nil {
			s.t.Fatalf("%v in %s", err, r.stdout)
		}
	}
	return status, r.code
}

func (s *supervisor) ready() control.Status {
	s.t.Helper()
	var now control.Status
	s.until("Ready", func() bool {
		var code int
		now, code = s.status()
		return code == 0
	})
	return now
}

func replicaOf(s control.Status, name tier.Name) control.Replica {
	for _, t := range s.Tiers {
		if t.Name == string(name) {
			return t.Replicas[0]
		}
	}
	return control.Replica{}
}

// pids are all processes the status names.
func pids(s control.Status) []int {
	all := []int{s.Etcd.PID}
	for _, name := range tier.Order {
		all = append(all, replicaOf(s, name).PID)
	}
	return all
}

func (s *supervisor) gone(pids []int) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for _, pid := range pids {
		for syscall.Kill(pid, 0) == nil {
			if time.Now().After(deadline) {
				s.t.Fatalf("process %d is left behind", pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// transcript is a buffer for two goroutines.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
