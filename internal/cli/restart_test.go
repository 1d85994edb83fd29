package cli

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/pki"
)

// direct is a supervisor with core as the head and an etcd of the user's.
type direct struct{}

func (direct) Status(context.Context) control.Status {
	return control.Status{Phase: "Ready", Tiers: []control.Tier{{Name: "core"}, {Name: "extensions"}}}
}
func (direct) Metrics(context.Context) control.Metrics                       { return control.Metrics{} }
func (direct) Stop(bool)                                                     {}
func (direct) Restart(context.Context, string) error                         { return nil }
func (direct) StopTier(context.Context, string) ([]control.Standing, error)  { return nil, nil }
func (direct) StartTier(context.Context, string) ([]control.Standing, error) { return nil, nil }
func (direct) Scale(context.Context, map[string]int) error                   { return nil }
func (direct) Invite(context.Context, string, time.Duration) (control.Invitation, error) {
	return control.Invitation{}, nil
}
func (direct) Upgrade(context.Context, control.UpgradeRequest) (control.Upgraded, error) {
	return control.Upgraded{}, nil
}
func (direct) Drain(context.Context, string) error { return nil }

func (direct) Trace(context.Context, string) (control.Trace, error) { return control.Trace{}, nil }

func (direct) Reload(context.Context, bool) (control.Reload, error) { return control.Reload{}, nil }
func (direct) CompactEtcd(context.Context) (control.Compaction, error) {
	return control.Compaction{}, nil
}
func (direct) TakeSnapshot(context.Context, control.SnapshotRequest, func(string, int64, int64)) (control.Snapshot, error) {
	return control.Snapshot{}, nil
}
func (direct) Snapshots() (control.Snapshots, error) { return control.Snapshots{}, nil }
func (direct) Security() []control.SecurityRow       { return nil }

func (direct) MoveExtensions(context.Context, control.MoveTarget) (control.Move, error) {
	return control.Move{}, nil
}

func TestOnlyWhatRunsIsOffered(t *testing.T) {
	// t.TempDir is too long for a socket in it.
	root, err := os.MkdirTemp("", "triptych")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	d := datadir.Dir{Root: root}
	if err := os.MkdirAll(d.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	server, err := control.Listen(d.Control(), direct{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve() }()
	defer func() {
		server.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for command, want := range map[string]string{"restart": "core\nextensions\n:4\n", "logs": "core\nextensions\nsupervisor\n:4\n"} {
		if out, _, code := execute(t, "__complete", command, "--data-dir", root, ""); code != ExitOK || out != want {
			t.Errorf("%s: exit code %d, offers %q", command, code, out)
		}
	}
	_, stderr, code := execute(t, "restart", "--data-dir", root, "aggregator")
	if code != ExitConfiguration || !strings.Contains(stderr, "want one of core, extensions\n") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if _, stderr, code := execute(t, "restart", "--data-dir", root, "core"); code != ExitOK {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func (direct) Certificates() ([]pki.Certificate, error) { return nil, nil }

func (direct) RenewCertificates(context.Context, []string, bool) ([]string, error) { return nil, nil }

func (direct) RotateCA(context.Context, control.CARotation) error { return nil }
