package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a supervisor that remembers what it was told.
type fake struct {
	status Status
	stops  []bool
	// restart is what Restart does.
	restart func(context.Context, string) error
	scale   func(map[string]int) error
	compact func() (Compaction, error)
	move    func(MoveTarget) (Move, error)
}

func (f *fake) Status(context.Context) Status                   { return f.status }
func (f *fake) Stop(now bool)                                   { f.stops = append(f.stops, now) }
func (f *fake) Restart(ctx context.Context, name string) error  { return f.restart(ctx, name) }
func (f *fake) Scale(_ context.Context, n map[string]int) error { return f.scale(n) }
func (f *fake) Invite(context.Context, string, time.Duration) (Invitation, error) {
	return Invitation{}, nil
}
func (f *fake) CompactEtcd(context.Context) (Compaction, error) { return f.compact() }
func (f *fake) MoveExtensions(_ context.Context, to MoveTarget) (Move, error) {
	return f.move(to)
}

func serve(t *testing.T, f *fake) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(path, f)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	return NewClient(path)
}

func TestStatusArrivesAsItWasSent(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	want := Status{Phase: "Degraded", SecureURL: "https://a", Etcd: Etcd{PID: 1, Embedded: true}, Tiers: []Tier{{Name: "core", Replicas: []Replica{
		{PID: 2, Stage: "ready", Restarts: 3, Tunnels: &Tunnels{Up: 1, Connecting: 2, Down: 3, SyncAgeSeconds: 4.5, Problem: "p"}, StartedAt: &now, RSSBytes: 4, Address: "127.0.0.1:5", LastExit: &Exit{Code: -1, Signal: "SIGKILL", Time: now, Reason: "r"}}}}}}
	got, err := serve(t, &fake{status: want}).Status(t.Context())
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRestartWaitsAndTellsWhyNot(t *testing.T) {
	f := &fake{restart: func(_ context.Context, name string) error { return fmt.Errorf("cannot restart %s", name) }}
	c := serve(t, f)
	if err := c.Restart(t.Context(), "a&b"); err == nil || err.Error() != "cannot restart a&b" {
		t.Errorf("%v", err)
	}
	f.restart = func(context.Context, string) error { return nil }
	if err := c.Restart(t.Context(), "core"); err != nil {
		t.Error(err)
	}
	// A caller that gives up is no longer worked for.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	f.restart = func(ctx context.Context, _ string) error {
		cancel()
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}
	if err := c.Restart(ctx, "core"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-ended
}

// TestStopWaitsForTheProcess: here the process is this test, which does not end.
func TestStopWaitsForTheProcess(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.Stop(ctx, false); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "still stopping") {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = c.Stop(ctx, true)
	if len(f.stops) != 2 || f.stops[0] || !f.stops[1] {
		t.Errorf("%v", f.stops)
	}
}

func TestNobodyThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as a supervisor that was killed leaves it
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket that was left: %v", err)
	}
	if err := NewClient(path).Stop(t.Context(), false); !errors.Is(err, ErrNotRunning) {
		t.Errorf("stop: %v", err)
	}
	s, err := Listen(path, &fake{})
	if err != nil {
		t.Fatalf("a socket that was left is in the way: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOnlyRootAndTheOwnUserAreTrusted(t *testing.T) {
	for uid, want := range map[uint32]bool{0: true, uint32(os.Geteuid()): true, uint32(os.Geteuid()) + 1: false, 65534: os.Geteuid() == 65534} {
		if got := trusted(uid); got != want {
			t.Errorf("user %d: %v", uid, got)
		}
	}
}

func TestACompactionArrivesAsItWasMadeOrWithWhyNot(t *testing.T) {
	want, why := Compaction{Before: "8 of 8 MiB", After: "7 of 8 MiB", Full: true}, error(nil)
	c := serve(t, &fake{compact: func() (Compaction, error) { return want, why }})
	if got, err := c.CompactEtcd(t.Context()); err != nil || *got != want {
		t.Errorf("got %+v %v", got, err)
	}
	why = errors.New("no etcd")
	if _, err := c.CompactEtcd(t.Context()); err == nil || err.Error() != "no etcd" {
		t.Errorf("got %v", err)
	}
}

func TestScaleTellsEveryNumberAndPassesTheErrorOn(t *testing.T) {
	c := serve(t, &fake{scale: func(wanted map[string]int) error {
		if len(wanted) != 2 || wanted["core"] != 3 || wanted["extensions"] != 1 {
			t.Error(wanted)
		}
		return errors.New("no room")
	}})
	if err := c.Scale(t.Context(), map[string]int{"core": 3, "extensions": 1}); err == nil || err.Error() != "no room" {
		t.Error(err)
	}
}

func TestAMoveIsAskedForWithItsTargetAndTold(t *testing.T) {
	to := MoveTarget{Servers: []string{"https://h:1", "https://h:2"}, CAFile: "/ca", CertFile: "/cert", KeyFile: "/key", DeleteSource: true}
	want := Move{Keys: 1, Bytes: 2, Raised: 3, AwaySeconds: 4, Deleted: 5, Flags: "f"}
	var asked MoveTarget
	var why error
	c := serve(t, &fake{move: func(to MoveTarget) (Move, error) { asked = to; return want, why }})
	if got, err := c.MoveExtensions(t.Context(), to); err != nil || *got != want || !reflect.DeepEqual(asked, to) {
		t.Errorf("asked for %+v, got %+v %v", asked, got, err)
	}
	why = errors.New("no etcd")
	if _, err := c.MoveExtensions(t.Context(), to); err == nil || err.Error() != "no etcd" {
		t.Errorf("got %v", err)
	}
}
