package options

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

func TestCPULimitsAreByTier(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("apiVersion: "+APIVersion+"\nkind: "+Kind+"\ncpuLimits: {extensions: 500m, core: \"2\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--cpu-limit=extensions=0.5", "--cpu-limit=core=2"},
		{"--cpu-limit=extensions=500m,core=2"},
		{"--config=" + file},
	} {
		o, err := parseMemory(t, args...)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if l := o.CPULimits; l[tier.Extensions] != 500 || l[tier.Core] != 2000 || l.String() != "core=2,extensions=500m" {
			t.Errorf("%q: limits are %s", args, l)
		}
	}
}

func TestMistakenCPULimits(t *testing.T) {
	for args, want := range map[string]string{
		"--cpu-limit=etcd=1":                            "want TIER=CPUS",
		"--cpu-limit=core":                              "want one like core=1.5 or core=500m",
		"--cpu-limit=core=all":                          "want one like core=1.5 or core=500m",
		"--cpu-limit=extensions=0.005":                  "at least 10m",
		"--cpu-limit=aggregator=1 --without-aggregator": "leaves out",
	} {
		if _, err := parseMemory(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}
