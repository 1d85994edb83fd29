package options

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"triptych.dev/triptych/internal/tier"
)

// leastMemory is what a tier needs to start with nothing in storage. Less would only
// make a loop of crashes.
const leastMemory = 64 << 20

// MemoryLimits are bytes by tier; a tier without an entry has no limit.
type MemoryLimits map[tier.Name]int64

// Set implements pflag.Value: TIER=SIZE, several of them with commas.
func (l MemoryLimits) Set(value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		name, size, _ := strings.Cut(pair, "=")
		of, err := tier.Parse(name)
		if err != nil {
			return fmt.Errorf("want TIER=SIZE: %w", err)
		}
		quantity, err := resource.ParseQuantity(size)
		if err != nil {
			return fmt.Errorf("%q is no size: want one like %s=512Mi", size, of)
		}
		bytes := quantity.Value()
		if bytes < leastMemory {
			return fmt.Errorf("%s is too little for %s to start: want at least %dMi", size, of, leastMemory>>20)
		}
		l[of] = bytes
	}
	return nil
}

// String implements pflag.Value.
func (l MemoryLimits) String() string { return strings.Join(pairs(l.quantities()), ",") }

// quantities are the limits as people write them.
func (l MemoryLimits) quantities() map[tier.Name]string {
	all := map[tier.Name]string{}
	for name, bytes := range l {
		all[name] = resource.NewQuantity(bytes, resource.BinarySI).String()
	}
	return all
}

// Type implements pflag.Value.
func (l MemoryLimits) Type() string { return "TIER=SIZE" }
