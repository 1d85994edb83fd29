package options

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"triptych.dev/triptych/internal/tier"
)

// leastCPU is the least that the kernel takes of a tenth of a second, in thousandths of a CPU.
const leastCPU = 10

// CPULimits are thousandths of a CPU that a process of a tier may take, by tier; a tier without an
// entry has no limit.
type CPULimits map[tier.Name]int64

// Set implements pflag.Value: TIER=CPUS, several of them with commas.
func (l CPULimits) Set(value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		name, cpus, _ := strings.Cut(pair, "=")
		of, err := tier.Parse(name)
		if err != nil {
			return fmt.Errorf("want TIER=CPUS: %w", err)
		}
		quantity, err := resource.ParseQuantity(cpus)
		if err != nil {
			return fmt.Errorf("%q is no number of CPUs: want one like %s=1.5 or %[2]s=500m", cpus, of)
		}
		if quantity.MilliValue() < leastCPU {
			return fmt.Errorf("%s of a CPU is less than the kernel can give %s: want at least %dm", cpus, of, leastCPU)
		}
		l[of] = quantity.MilliValue()
	}
	return nil
}

// String implements pflag.Value.
func (l CPULimits) String() string { return strings.Join(pairs(l.quantities()), ",") }

// quantities are the limits as people write them.
func (l CPULimits) quantities() map[tier.Name]string {
	all := map[tier.Name]string{}
	for name, millis := range l {
		all[name] = resource.NewMilliQuantity(millis, resource.DecimalSI).String()
	}
	return all
}

// Type implements pflag.Value.
func (l CPULimits) Type() string { return "TIER=CPUS" }
