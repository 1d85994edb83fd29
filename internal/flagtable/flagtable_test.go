package flagtable

import (
	"slices"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

func TestTheTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Flags {
		if f.Name == "" || f.Name != Normalize(f.Name) || seen[f.Name] {
			t.Errorf("%q is empty, not in its normal form, or there twice", f.Name)
		}
		seen[f.Name] = true
		if len(f.Tiers) == 0 {
			t.Errorf("no tier knows --%s", f.Name)
		}
		for _, name := range f.Tiers {
			if !slices.Contains(tier.Order, name) {
				t.Errorf("--%s is known to %q", f.Name, name)
			}
		}
		if f.Type == "bool" && f.NoOptDefVal == "" {
			t.Errorf("--%s is a boolean that demands a value", f.Name)
		}
	}
}

func TestLookup(t *testing.T) {
	for _, name := range []string{"feature-gates", "feature_gates"} {
		if f, ok := Lookup(name); !ok || f.Name != "feature-gates" || !f.KnownTo(tier.Core) {
			t.Errorf("%s: %v, %v", name, f, ok)
		}
	}
	if f, ok := Lookup("no-such-flag"); ok {
		t.Errorf("%v", f)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"v", "vmodule", "feature-gates", "secure-port", "audit-log-path"}
	for given, want := range map[string]string{
		"feature-gate":   "feature-gates",
		"feature_gatse":  "feature-gates",
		"secureport":     "secure-port",
		"audit-log-file": "", // four characters are another word
		"w":              "", // one of one is nothing in common
		"":               "",
		"qwertyuiop":     "",
	} {
		if got := Nearest(given, names); got != want {
			t.Errorf("%s: %q, want %q", given, got, want)
		}
	}
}
