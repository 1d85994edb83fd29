package options

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

// Flags and the file say the same.
func TestTiersOfSeveralHosts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(`apiVersion: supervisor.triptych.dev/v1alpha1
kind: SupervisorConfiguration
etcdServers: ["https://10.0.0.9:2379"]
tiers: [aggregator, core]
tierListen: {core: "[fd00::1]:7020"}
tierAt: {extensions: ["10.0.0.2:7010", "extensions.example:7010"]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []*Options{
		mustParse(t, "--config="+file),
		mustParse(t, "--etcd-servers=https://10.0.0.9:2379", "--tiers=aggregator,core", "--tier-listen=core=[fd00::1]:7020",
			"--tier-at=extensions=10.0.0.2:7010", "--tier-at=extensions=extensions.example:7010"),
	} {
		if here := o.Here(tier.Aggregator); !slices.Equal(here, []tier.Name{tier.Core, tier.Aggregator}) {
			t.Errorf("here run %v", here)
		}
		if got := o.TierListen.String(); got != "core=[fd00::1]:7020" {
			t.Errorf("listens at %s", got)
		}
		if got := o.TierAt.String(); got != "extensions=10.0.0.2:7010,extensions=extensions.example:7010" {
			t.Errorf("others are at %s", got)
		}
	}
	if o := mustParse(t); !slices.Equal(o.Here(tier.Core), []tier.Name{tier.Extensions, tier.Core}) {
		t.Errorf("in direct mode run %v", o.Here(tier.Core))
	}
}
