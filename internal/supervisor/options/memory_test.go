package options

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/tier"
)

func parseMemory(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	o, fs := New(), pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return o, o.Load()
}

func TestMemoryLimitsAreByTier(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("apiVersion: "+APIVersion+"\nkind: "+Kind+"\nmemoryLimits: {extensions: 512Mi, core: 2Gi}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--memory-limit=extensions=512Mi", "--memory-limit=core=2Gi"},
		{"--memory-limit=extensions=512Mi,core=2Gi"},
		{"--config=" + file},
	} {
		o, err := parseMemory(t, args...)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if l := o.MemoryLimits; l[tier.Extensions] != 512<<20 || l[tier.Core] != 2<<30 || len(l) != 2 {
			t.Errorf("%q: limits are %s", args, l)
		}
	}
}

func TestMistakenMemoryLimits(t *testing.T) {
	for args, want := range map[string]string{
		"--memory-limit=etcd=1Gi":                            "want TIER=SIZE",
		"--memory-limit=core":                                "want one like core=512Mi",
		"--memory-limit=core=lots":                           "want one like core=512Mi",
		"--memory-limit=extensions=63Mi":                     "at least 64Mi",
		"--memory-limit=aggregator=1Gi --without-aggregator": "leaves out",
	} {
		if _, err := parseMemory(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}
