package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

const (
	// StartBound is how long a start may take on a busy machine of two cores.
	StartBound = 2 * time.Minute
	// StopBound is longer than every budget of a stop together.
	StopBound = 3 * time.Minute
)

// Options of a Cluster. The zero value is what a newcomer runs.
type Options struct {
	// Dir is the data directory; empty is a new one.
	Dir string
	// BinDir holds other binaries of the tiers than Bin does.
	BinDir string
	// Args are further arguments of supervisor run.
	Args []string
	// Env are further variables, "NAME=value".
	Env []string
	// On is the host it runs on; nil is this one.
	On *Host
}

// Cluster is a supervisor that runs, and everything under it.
type Cluster struct {
	API
	*Process
	// Dir is the data directory.
	Dir string
	// Started is when the supervisor was started.
	Started time.Time
}

// Launch starts a supervisor and does not wait for anything. Whoever calls it
// ends the Cluster.
func Launch(o Options) (*Cluster, error) {
	if err := Build(); err != nil {
		return nil, err
	}
	if err := letThrough(o.Dir); err != nil {
		return nil, err
	}
	args := []string{"run", "--data-dir", o.Dir}
	if !slices.ContainsFunc(o.Args, func(a string) bool { return strings.HasPrefix(a, "--secure-port") }) {
		args = append(args, "--secure-port=0")
	}
	if o.BinDir != "" {
		args = append(args, "--bin-dir="+o.BinDir)
	}
	c := &Cluster{Dir: o.Dir, Started: time.Now()}
	c.API = API{Kubeconfig: c.Path("admin.kubeconfig")}
	var err error
	// A supervisor that is told to stop takes everything with it; so does one
	// whose test dies.
	command := append([]string{Bin("supervisor")}, append(args, o.Args...)...)
	if o.On != nil {
		command = append(o.On.On(), command...)
	}
	c.Process, err = StartProcess(syscall.SIGTERM, o.Env, command[0], command[1:]...)
	return c, err
}

// Run starts a supervisor, waits until it is Ready and stops it when the test
// ends; then nothing of it may be left. Logs are kept if the test failed.
func Run(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := Begin(t, o)
	c.WaitReady(t)
	return c
}

// Begin is Run that does not wait for Ready.
func Begin(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = TempDir(t)
	}
	c, err := Launch(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(c.KeepLogs(t.Name()))
		}
	})
	return c
}

// Close stops the cluster if it runs, and tells what it left behind, and which of the tiers' own calls were refused.
func (c *Cluster) Close() error {
	stopped := c.End(StopBound)
	return errors.Join(stopped, c.GoneWithin(10*time.Second), c.ownCallsRefused())
}

// ownCallsRefused is an error if a tier asked another for what it has no business with. A test that knocks with a tier's
// certificate is no tier: its user agent is Go's.
func (c *Cluster) ownCallsRefused() error {
	logs, err := filepath.Glob(c.Path("log", "*.log"))
	if err != nil {
		return err
	}
	var refused []error
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			continue // rotated away
		}
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, "what a tier has no business with") && !strings.Contains(line, "Go-http-client") {
				refused = append(refused, fmt.Errorf("%s: %s", filepath.Base(log), line))
			}
		}
	}
	return errors.Join(refused...)
}

// GoneWithin waits until no process of the data directory is left, and kills
// what remains after the bound.
func (c *Cluster) GoneWithin(bound time.Duration) error {
	err := Await(context.Background(), bound, "no process left", func() error {
		if left := ProcsOf(c.Dir); len(left) > 0 {
			return fmt.Errorf("left behind: %v", left)
		}
		return nil
	})
	if err != nil {
		for _, p := range ProcsOf(c.Dir) {
			syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	return err
}

// Path returns a path in the data directory.
func (c *Cluster) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// Supervisor runs a subcommand on the cluster's data directory and returns what
// it printed, both streams apart, and its exit code.
func (c *Cluster) Supervisor(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	return Command(ctx, Bin("supervisor"), append(args, "--data-dir", c.Dir)...)
}

// Command runs a program to its end. A program that cannot be run has code -1.
func Command(ctx context.Context, path string, args ...string) (stdout, stderr string, code int) {
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
		return out.String(), err.Error(), -1
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Status asks the supervisor; code is the exit code of the command.
func (c *Cluster) Status() (s Status, code int, err error) {
	stdout, stderr, code := c.Supervisor(context.Background(), "status", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		return s, code, fmt.Errorf("status exits with %d, prints %q: %s", code, stdout, stderr)
	}
	return s, code, nil
}

// look asks the supervisor without running the command, which would take the CPU of a tenth of a second from what
// is waited for.
func (c *Cluster) look(ctx context.Context) (s Status, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Path("run", "control.sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://supervisor/v1/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the supervisor answers %s", resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// AwaitStatus waits until the status fulfils cond. It gives up at once when the
// supervisor has exited.
func (c *Cluster) AwaitStatus(bound time.Duration, what string, cond func(Status) bool) (s Status, err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	err = Await(ctx, bound, what, func() error {
		select {
		case <-c.Exited():
			cancel(nil)
			return fmt.Errorf("the supervisor has exited with %d", c.Cmd.ProcessState.ExitCode())
		default:
		}
		var lookErr error
		if s, lookErr = c.look(ctx); lookErr != nil {
			return lookErr
		}
		if !cond(s) {
			return errors.New(s.String())
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("%w\nthe supervisor printed:\n%s", err, tail(c.Output.String(), 40))
	}
	return s, err
}

// WaitStatus is AwaitStatus that fails the test.
func (c *Cluster) WaitStatus(t testing.TB, bound time.Duration, what string, cond func(Status) bool) Status {
	t.Helper()
	return Must(c.AwaitStatus(bound, what, cond))(t)
}

// WaitReady waits for the phase Ready.
func (c *Cluster) WaitReady(t testing.TB) Status {
	t.Helper()
	return c.WaitStatus(t, StartBound, "phase Ready", IsReady)
}

// IsReady is a condition for WaitStatus.
func IsReady(s Status) bool { return s.Phase == "Ready" }

// CA returns the CA of client certificates in the data directory.
func (c *Cluster) CA(t testing.TB) *Pair {
	t.Helper()
	return Must(LoadPair(c.Path("pki", "ca.crt"), c.Path("pki", "ca.key")))(t)
}

// Stop ends the supervisor gracefully and demands exit code 0 and nothing left.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	c.Signal(syscall.SIGTERM)
	code, err := c.Wait(StopBound)
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Fatalf("a graceful stop ends with %d:\n%s", code, tail(c.Output.String(), 40))
	}
	if err := c.GoneWithin(5 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// URL is the public address in the administrator's kubeconfig.
func (c *Cluster) URL(t testing.TB) string {
	t.Helper()
	return Must(clientcmd.BuildConfigFromFlags("", c.Kubeconfig))(t).Host
}

// KeepLogs copies the logs to where they survive the test, and returns where
// that is and the end of each.
func (c *Cluster) KeepLogs(name string) string {
	to := filepath.Join(BinDir(), "test-logs", strings.ReplaceAll(name, "/", "_"))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err.Error()
	}
	said := &strings.Builder{}
	keep := func(name string, content []byte) {
		os.WriteFile(filepath.Join(to, name), content, 0o644)
		fmt.Fprintf(said, "--- %s, kept in %s, ends with:\n%s\n", name, to, tail(string(content), 12))
	}
	keep("supervisor.out", []byte(c.Output.String()))
	logs, _ := filepath.Glob(c.Path("log", "*"))
	for _, log := range logs {
		if content, err := os.ReadFile(log); err == nil {
			keep(filepath.Base(log), content)
		}
	}
	return said.String()
}

// tail returns the last n lines of s, each cut to a readable length.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, line := range lines {
		if len(line) > 300 {
			lines[i] = line[:300] + "..."
		}
	}
	return strings.Join(lines, "\n")
}
