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

	"triptych.dev/triptych/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a supervisor that remembers what it was told.
type fake struct {
	rotations []CARotation
	status    Status
	metrics   Metrics
	stops     []bool
	// restart is what Restart does.
	restart func(context.Context, string) error
	scale   func(map[string]int) error
	reload  func() (Reload, error)
	compact func() (Compaction, error)
	move    func(MoveTarget) (Move, error)
	upgrade func(UpgradeRequest) (Upgraded, error)
	take    func(SnapshotRequest, func(string, int64, int64)) (Snapshot, error)
}

func (f *fake) Metrics(context.Context) Metrics                { return f.metrics }
func (f *fake) Status(context.Context) Status                  { return f.status }
func (f *fake) Stop(now bool)                                  { f.stops = append(f.stops, now) }
func (f *fake) Restart(ctx context.Context, name string) error { return f.restart(ctx, name) }
func (f *fake) StopTier(_ context.Context, name string) ([]Standing, error) {
	return []Standing{{Name: name, Stage: "stopped by operator", Changed: true}}, nil
}
func (f *fake) StartTier(_ context.Context, name string) ([]Standing, error) {
	return nil, RefusedError{errors.New(name + " is unknown")}
}
func (f *fake) Scale(_ context.Context, n map[string]int) error { return f.scale(n) }
func (f *fake) Invite(context.Context, string, time.Duration) (Invitation, error) {
	return Invitation{}, nil
}
func (f *fake) Upgrade(_ context.Context, r UpgradeRequest) (Upgraded, error) {
	return f.upgrade(r)
}
func (f *fake) Reload(context.Context, bool) (Reload, error)    { return f.reload() }
func (f *fake) CompactEtcd(context.Context) (Compaction, error) { return f.compact() }
func (f *fake) Drain(_ context.Context, replica string) error {
	return RefusedError{errors.New(replica + " is the only one")}
}

func (f *fake) Trace(_ context.Context, path string) (Trace, error) {
	return Trace{Path: path, Rule: "a rule", Hops: []TraceHop{{Process: "core-0", Code: 200}}}, nil
}

func (f *fake) Certificates() ([]pki.Certificate, error) { return []pki.Certificate{{Name: "ca"}}, nil }
func (f *fake) RotateCA(_ context.Context, r CARotation) error {
	f.rotations = append(f.rotations, r)
	return nil
}
func (f *fake) RenewCertificates(_ context.Context, names []string, all bool) ([]string, error) {
	if all {
		return []string{"all"}, nil
	}
	return names, nil
}
func (f *fake) Security() []SecurityRow { return nil }

func (f *fake) TakeSnapshot(_ context.Context, r SnapshotRequest, tell func(string, int64, int64)) (Snapshot, error) {
	return f.take(r, tell)
}
func (f *fake) Snapshots() (Snapshots, error) { return Snapshots{Schedule: "6h"}, nil }

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

func TestMetricsArriveAsTheyWereRead(t *testing.T) {
	want := Metrics{Storage: &Storage{SizeBytes: 1, QuotaBytes: 2, Full: true}, Processes: []ProcessMetrics{{
		Name: "core-0", PID: 3, Time: time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC), CPUSeconds: 4.5, MemoryBytes: 6, Problem: "p",
		Counters: &Counters{Requests: 7, Latency: Histogram{Bounds: []float64{0.1}, Counts: []uint64{8}, Count: 9}},
	}}}
	got, err := serve(t, &fake{metrics: want}).Metrics(t.Context())
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

func TestATierIsStoppedOrItIsToldWhyNot(t *testing.T) {
	c := serve(t, &fake{})
	if got, err := c.StopTier(t.Context(), "a&b"); err != nil || len(got) != 1 || got[0] != (Standing{Name: "a&b", Stage: "stopped by operator", Changed: true}) {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := c.StartTier(t.Context(), "core"); !errors.As(err, &RefusedError{}) || err.Error() != "core is unknown" {
		t.Errorf("%T %v", err, err)
	}
}

func TestADrainIsRefusedAndATraceArrives(t *testing.T) {
	c := serve(t, &fake{})
	if err := c.Drain(t.Context(), "core-0"); !errors.As(err, &RefusedError{}) || err.Error() != "core-0 is the only one" {
		t.Errorf("%T %v", err, err)
	}
	if got, err := c.Trace(t.Context(), "/a?b=c"); err != nil || got.Path != "/a?b=c" || len(got.Hops) != 1 {
		t.Errorf("%+v %v", got, err)
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

func TestASnapshotIsToldOfAsItIsTakenAndHowItEnds(t *testing.T) {
	want, why := Snapshot{Path: "/p", Bytes: 3, Revision: 4, Keys: 5}, error(nil)
	asked := SnapshotRequest{}
	c := serve(t, &fake{take: func(r SnapshotRequest, tell func(string, int64, int64)) (Snapshot, error) {
		asked = r
		tell("fetching", 1, 2)
		tell("writing", 2, 2)
		return want, why
	}})
	var told []string
	tell := func(step string, done, total int64) { told = append(told, fmt.Sprint(step, done, total)) }
	r := SnapshotRequest{Path: "/p", RecipientsFile: "/r", PassphraseFile: "/s"}
	if got, err := c.TakeSnapshot(t.Context(), r, tell); err != nil || *got != want || asked != r {
		t.Errorf("asked for %+v, got %+v %v", asked, got, err)
	}
	if fmt.Sprint(told) != "[fetching1 2 writing2 2]" {
		t.Errorf("told %q", told)
	}
	why = RefusedError{errors.New("no room")}
	if _, err := c.TakeSnapshot(t.Context(), r, tell); err == nil || err.Error() != "no room" || !errors.As(err, &RefusedError{}) {
		t.Errorf("%v", err)
	}
}
