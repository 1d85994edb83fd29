package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"

	"triptych.dev/triptych/internal/supervisor/options"
)

func TestTheTableIsUpToDate(t *testing.T) {
	want, err := table()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../zz_generated.flags.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("zz_generated.flags.go is not what the tiers' flag sets say: run make generate")
	}
	if got, err := os.ReadFile("../../../docs/reference/flags.md"); err != nil || !bytes.Equal(got, document()) {
		t.Errorf("docs/reference/flags.md is not what the flag table says (%v): run make generate", err)
	}
}

// The oracle is the command of the version that we link.
func TestNoFlagOfKubeAPIServerIsMissing(t *testing.T) {
	own := pflag.NewFlagSet("supervisor", pflag.ContinueOnError)
	o := options.New()
	o.AddFlags(own)
	count := 0
	app.NewAPIServerCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "version" || f.Name == "help" {
			return // commands of the supervisor
		}
		count++
		ours := own.Lookup(f.Name)
		if ours == nil {
			t.Errorf("--%s of kube-apiserver is missing", f.Name)
			return
		}
		if ours.NoOptDefVal != f.NoOptDefVal {
			t.Errorf("--%s without a value means %q, want %q", f.Name, ours.NoOptDefVal, f.NoOptDefVal)
		}
	})
	if count < 150 {
		t.Errorf("kube-apiserver has %d flags: that cannot be all", count)
	}
	t.Logf("%d flags of kube-apiserver are taken", count)
}
