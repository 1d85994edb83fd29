package etcd

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/process"
)

func TestArgsAreWhatAddFlagsReads(t *testing.T) {
	for _, want := range []Options{
		{},
		{DataDir: "/d", ClientAddress: "127.0.0.1:1", CAFile: "ca", CertFile: "c", KeyFile: "k", Name: "n",
			Lifeline: 3, LogLevel: "warn", QuotaBytes: 1, SnapshotCount: 2},
	} {
		var got Options
		fs := pflag.NewFlagSet("etcd", pflag.ContinueOnError)
		got.AddFlags(fs)
		if err := fs.Parse(want.Args()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// A full disk may be emptied meanwhile, so the child is started again.
func TestAFullDiskIsNamedAndWorthARestart(t *testing.T) {
	err := explain(Options{DataDir: "/d"}, cannotStart, fmt.Errorf("failed to create WAL: %w", syscall.ENOSPC))
	if errors.As(err, &process.ConfigurationError{}) {
		t.Error("taken for a configuration error")
	}
	want := "cannot start etcd: failed to create WAL: no space left on device: free some space on the disk of /d"
	if err.Error() != want {
		t.Errorf("got %q", err)
	}
}
