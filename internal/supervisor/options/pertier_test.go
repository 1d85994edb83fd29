package options

import (
	"strings"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

func TestFlagsOfOneTierWinOverThoseOfAll(t *testing.T) {
	fromFlags := mustParse(t, "--max-requests-inflight=50", "--watch-cache-sizes=pods#1", "--v=2",
		"--tier-flag=extensions=max-requests-inflight=100", "--tier-flag", "extensions=--watch_cache_sizes=gadgets.a.b#7", "--tier-flag=core=--profiling")
	fromFile, err := parseWithFile(t, head+`
flags: {max-requests-inflight: 50, watch-cache-sizes: "pods#1", v: 2}
tierFlags:
  extensions: {max-requests-inflight: 100, watch-cache-sizes: ["gadgets.a.b#7"]}
  core: {profiling: true}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []*Options{fromFlags, fromFile} {
		extensions, core := arguments(o, tier.Extensions), arguments(o, tier.Core)
		wantArgument(t, extensions, "--max-requests-inflight=100", true)
		wantArgument(t, extensions, "--max-requests-inflight=50", false)
		wantArgument(t, extensions, "--watch-cache-sizes=gadgets.a.b#7", true)
		wantArgument(t, extensions, "--watch-cache-sizes=pods#1", false)
		wantArgument(t, extensions, "--v=2", true)
		wantArgument(t, extensions, "--profiling=true", false)
		wantArgument(t, core, "--max-requests-inflight=50", true)
		wantArgument(t, core, "--max-requests-inflight=100", false)
		wantArgument(t, core, "--watch-cache-sizes=pods#1", true)
		wantArgument(t, core, "--profiling=true", true)
		wantArgument(t, arguments(o, tier.Aggregator), "--max-requests-inflight=50", true)
	}
}

func TestFlagsOfOneTierOnTheCommandLineWinOverTheFile(t *testing.T) {
	o, err := parseWithFile(t, head+"tierFlags: {core: {v: 4}}\n", "--tier-flag=extensions=v=5")
	if err != nil {
		t.Fatal(err)
	}
	wantArgument(t, arguments(o, tier.Core), "--v=4", false)
	wantArgument(t, arguments(o, tier.Extensions), "--v=5", true)
}

func TestMistakenFlagsOfOneTier(t *testing.T) {
	for arg, says := range map[string]string{
		"kernel=v=4":                       "want TIER=FLAG=VALUE: unknown tier",
		"v=4":                              "unknown tier",
		"":                                 "want TIER=FLAG=VALUE",
		"core":                             "no flag",
		"core=max-requests-inflight":       "needs a value",
		"core=feature-gates=A=true":        "--feature-gates cannot differ from tier to tier, only contention-profiling,",
		"extensions=audit-log-path=/other": "--audit-log-path cannot differ",
		"extensions=request-timeout=1s":    "--request-timeout cannot differ",
		"core=data-dir=/x":                 "--data-dir cannot differ",
		"core=no-such-flag=1":              "--no-such-flag cannot differ",
	} {
		if _, err := parse(t, "--tier-flag="+arg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", arg, err, says)
		}
	}
	if _, err := parse(t, "--without-aggregator", "--tier-flag=aggregator=v=4"); err == nil || !strings.Contains(err.Error(), "--without-aggregator leaves out") {
		t.Errorf("in direct mode: %v", err)
	}
	if _, err := parseWithFile(t, head+"tierFlags: {core: {etcd-prefix: /x}}\n"); err == nil || !strings.Contains(err.Error(), "tierFlags: --etcd-prefix cannot differ") {
		t.Errorf("in the file: %v", err)
	}
}

func TestEveryFlagThatMayDifferIsKnown(t *testing.T) {
	o := &TierFlags{}
	for _, flag := range perTier {
		for _, name := range tier.Order {
			if err := o.Set(string(name) + "=" + flag + "=1"); err != nil {
				t.Error(err)
			}
		}
	}
}
