package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"triptych.dev/triptych/internal/process"
)

func TestDataIsKeptAcrossRestartsAndKills(t *testing.T) {
	r := newRig(t)
	c := r.start(t, "plain")
	put(t, r.client(t), "k", "stopped")
	c.stop()

	c = r.start(t, "plain")
	if v := get(t, r.client(t), "k"); v != "stopped" {
		t.Fatalf("after a stop k = %q", v)
	}
	put(t, r.client(t), "k", "killed")
	c.kill()

	r.start(t, "plain")
	if v := get(t, r.client(t), "k"); v != "killed" {
		t.Fatalf("after a kill k = %q", v)
	}
}

func TestFsyncIsOnAndNothingListensForPeers(t *testing.T) {
	r := newRig(t)
	o := r.options
	o.complete()
	c := config(o, zap.NewNop(), t.Context(), &guard{})
	if c.UnsafeNoFsync {
		t.Error("fsync is off")
	}
	if len(c.ListenPeerUrls) != 0 {
		t.Errorf("listens for peers on %v", c.ListenPeerUrls)
	}
	if !c.ClientTLSInfo.ClientCertAuth || c.TlsMinVersion != "TLS1.3" {
		t.Error("clients are not authenticated by TLS 1.3")
	}
	if c.QuotaBackendBytes != 8<<30 {
		t.Errorf("quota is %d", c.QuotaBackendBytes)
	}
}

// A watch never ends by itself; waiting for it would take etcd's request
// timeout of seconds.
func TestStopDoesNotWaitForWatches(t *testing.T) {
	r := newRig(t)
	c := r.start(t, "plain")
	client := r.client(t)
	created := client.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
	if w := <-created; w.Err() != nil {
		t.Fatal(w.Err())
	}
	begin := time.Now()
	c.stop()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestEndOfTheLifelineEndsTheChildAtOnce(t *testing.T) {
	r := newRig(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	r.options.Lifeline = 3 // the first of ExtraFiles
	c := r.launch(t, "plain", read)
	c.waitHealthy(r)
	write.Close()
	if code, out := c.wait(); code != process.ExitOrphaned {
		t.Errorf("exit code %d, want %d\n%s", code, process.ExitOrphaned, out)
	}
}

func TestMistakesAreOneClearErrorAndExit64(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, r *rig)
		want  []string
	}{
		"not loopback": {func(_ *testing.T, r *rig) { r.options.ClientAddress = "0.0.0.0:2379" },
			[]string{"--client-address", "not a loopback address"}},
		"port 0": {func(_ *testing.T, r *rig) { r.options.ClientAddress = "127.0.0.1:0" },
			[]string{"--client-address", "port"}},
		"no data directory": {func(_ *testing.T, r *rig) { r.options.DataDir = "" },
			[]string{"--data-dir must be set"}},
		"bad log level": {func(_ *testing.T, r *rig) { r.options.LogLevel = "loud" },
			[]string{"--log-level"}},
		"no certificate": {func(_ *testing.T, r *rig) { r.options.CertFile += ".gone" },
			[]string{"server.crt.gone", "no such file"}},
		"data directory is a file": {func(t *testing.T, r *rig) { r.options.DataDir = r.options.CertFile },
			[]string{"not a directory", "a folder that user"}},
		"read-only": {func(t *testing.T, r *rig) { r.options.DataDir = "/sys/triptych" },
			[]string{"/sys/triptych", "can write"}},
		"damaged write-ahead log": {func(t *testing.T, r *rig) { damage(t, r, "member/wal/*.wal", overwrite(40)) },
			[]string{"member is damaged", "restore it from a backup"}},
		"write-ahead log of garbage": {func(t *testing.T, r *rig) { damage(t, r, "member/wal/*.wal", overwrite(0)) },
			[]string{"member is damaged", "restore it from a backup"}},
		"damaged database": {func(t *testing.T, r *rig) { damage(t, r, "member/snap/db", overwrite(40)) },
			[]string{"member is damaged", "restore it from a backup"}},
		"truncated database": {func(t *testing.T, r *rig) { damage(t, r, "member/snap/db", truncate(4)) },
			[]string{"member is damaged", "restore it from a backup"}},
		"database of one page": {func(t *testing.T, r *rig) { damage(t, r, "member/snap/db", truncate(1)) },
			[]string{"member is damaged", "restore it from a backup"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tc.spoil(t, r)
			code, out := r.launch(t, "plain").wait()
			if code != process.ExitConfiguration {
				t.Errorf("exit code %d, want %d", code, process.ExitConfiguration)
			}
			line := lastLine(out)
			for _, want := range append(tc.want, "error: cannot start etcd: ") {
				if !strings.Contains(line, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
		})
	}
}

// damage runs etcd for a while, stops it and spoils a file.
func damage(t *testing.T, r *rig, pattern string, spoil func(*os.File) error) {
	c := r.start(t, "plain")
	for i := range 32 {
		put(t, r.client(t), fmt.Sprint(i), strings.Repeat("v", 4096))
	}
	c.stop()
	files, err := filepath.Glob(filepath.Join(r.options.DataDir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatal("nothing to damage", err)
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := spoil(f); err != nil {
		t.Fatal(err)
	}
}

// overwrite spoils the head of a file from an offset on.
func overwrite(offset int64) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteAt([]byte(strings.Repeat("garbage!", 1100)), offset)
		return err
	}
}

// truncate leaves some pages of 4 KiB.
func truncate(pages int64) func(*os.File) error {
	return func(f *os.File) error { return f.Truncate(pages << 12) }
}

func TestAPortThatIsTakenIsNamedAndWorthARestart(t *testing.T) {
	r := newRig(t)
	r.start(t, "plain")
	other := newRig(t)
	taken, err := listenPlainly("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other.options.ClientAddress = taken.Addr().String()
	code, out := other.launch(t, "plain").wait()
	if code != process.ExitFailure {
		t.Errorf("exit code %d, want %d", code, process.ExitFailure)
	}
	if line := lastLine(out); !strings.Contains(line, "another process listens on "+taken.Addr().String()) {
		t.Errorf("unclear error: %s", line)
	}
}

// A start that is told to stop while it waits for another's lock does so.
func TestStopWhileStarting(t *testing.T) {
	r := newRig(t)
	r.start(t, "plain")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	second := r.launch(t, "plain")
	select {
	case <-second.exited: // refused by the lock, as good
	case <-ctx.Done():
		_ = second.cmd.Process.Signal(syscall.SIGTERM)
		if code, out := second.wait(); code != 0 {
			t.Errorf("exit code %d\n%s", code, out)
		}
	}
}
