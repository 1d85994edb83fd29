package supervisor

import (
	"testing"

	"triptych.dev/triptych/internal/tier"
)

func TestWhoPassesOnHasHalfOfTheCPUsBesideWhoAnswers(t *testing.T) {
	all, head := tier.Order, []tier.Name{tier.Aggregator}
	for _, c := range []struct {
		name string
		here []tier.Name
		cpus int
		want int
	}{
		{"aggregator", all, 1, 1}, {"aggregator", all, 2, 1}, {"aggregator", all, 3, 2}, {"aggregator", all, 64, 32},
		{"etcd", all, 2, 1}, {"core", all, 2, 0}, {"extensions", all, 2, 0},
		// A host of its own.
		{"aggregator", head, 2, 0}, {"etcd", nil, 2, 0},
		{"aggregator", []tier.Name{tier.Core, tier.Aggregator}, 2, 1},
	} {
		if got := cpus(c.name, c.here, c.cpus); got != c.want {
			t.Errorf("%s beside %v on %d CPUs has %d, want %d", c.name, c.here, c.cpus, got, c.want)
		}
	}
}
