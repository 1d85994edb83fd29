package etcd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/process"
)

// childVariable makes the test binary be the etcd child, as the supervisor's
// binary is. Its value shrinks the times of defragmentation if "defragment".
const childVariable = "TRIPTYCH_TEST_ETCD_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childVariable); mode != "" {
		os.Exit(child(mode, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

func child(mode string, args []string) int {
	if mode == "defragment" {
		defragDelay, defragInterval, defragMinWaste = 50*time.Millisecond, 50*time.Millisecond, 1<<20
	}
	var o Options
	fs := pflag.NewFlagSet("etcd", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		return process.ExitConfiguration
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := Run(ctx, o)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	if errors.As(err, &process.ConfigurationError{}) {
		return process.ExitConfiguration
	}
	return process.ExitFailure
}

// rig is a data directory with certificates and a reserved port.
type rig struct {
	paths   pki.Paths
	options Options
}

func newRig(t testing.TB) *rig {
	t.Helper()
	h, err := datadir.Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if _, err := pki.Ensure(pki.Options{Dir: h.Dir, EmbeddedEtcd: true}); err != nil {
		t.Fatal(err)
	}
	port, err := Reserve("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	p := pki.Paths{Dir: h.Dir}
	return &rig{paths: p, options: Options{
		DataDir:       h.Etcd(),
		ClientAddress: port.Address(),
		CAFile:        p.EtcdCA().Cert,
		CertFile:      p.EtcdServer().Cert,
		KeyFile:       p.EtcdServer().Key,
		LogLevel:      "warn",
	}}
}

func (r *rig) tls(t testing.TB) *tls.Config {
	t.Helper()
	pair := r.paths.EtcdClient(identity.Supervisor)
	c, err := pki.ClientTLS(r.options.CAFile, pair.Cert, pair.Key, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running is a child process.
type running struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr bytes.Buffer
	exited chan struct{}
}

func (r *rig) launch(t testing.TB, mode string, files ...*os.File) *running {
	t.Helper()
	c := &running{t: t, cmd: exec.Command(os.Args[0], r.options.Args()...), exited: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"="+mode)
	c.cmd.Stderr, c.cmd.ExtraFiles = &c.stderr, files
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(c.exited); _ = c.cmd.Wait() }()
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); <-c.exited })
	return c
}

func (r *rig) start(t testing.TB, mode string) *running {
	t.Helper()
	c := r.launch(t, mode)
	c.waitHealthy(r)
	return c
}

func (c *running) waitHealthy(r *rig) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	if err := WaitHealthy(ctx, r.options.ClientAddress, r.tls(c.t)); err != nil {
		c.t.Fatalf("%v\n%s", err, c.kill())
	}
}

// stop ends the child gracefully.
func (c *running) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if code, out := c.wait(); code != 0 {
		c.t.Fatalf("exit code %d, want 0\n%s", code, out)
	}
}

func (c *running) kill() string {
	_ = c.cmd.Process.Kill()
	<-c.exited
	return c.stderr.String()
}

// wait returns the exit code and what was written to stderr.
func (c *running) wait() (int, string) {
	c.t.Helper()
	select {
	case <-c.exited:
		return c.cmd.ProcessState.ExitCode(), c.stderr.String()
	case <-time.After(20 * time.Second):
		c.t.Fatalf("the child does not end\n%s", c.kill())
		return 0, ""
	}
}

// lastLine is where the error is.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func (r *rig) client(t *testing.T) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"https://" + r.options.ClientAddress}, TLS: r.tls(t), DialTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func put(t *testing.T, c *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c *clientv3.Client, key string) string {
	t.Helper()
	r, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}
