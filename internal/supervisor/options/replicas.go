package options

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// MaxReplicas bounds the processes of a tier on one machine.
const MaxReplicas = 16

// Replicas is how many processes each tier has; one unless it is set.
type Replicas struct{ given map[tier.Name]int }

// Of returns how many processes the named tier has.
func (r *Replicas) Of(name tier.Name) int { return max(r.given[name], 1) }

// Set implements pflag.Value: TIER=N, several with commas between.
func (r *Replicas) Set(value string) error {
	wanted, err := ParseReplicas(strings.Split(value, ","))
	if err != nil {
		return err
	}
	if r.given == nil {
		r.given = map[tier.Name]int{}
	}
	maps.Copy(r.given, wanted)
	return nil
}

// ParseReplicas reads TIER=N, N from 1 to MaxReplicas.
func ParseReplicas(values []string) (map[tier.Name]int, error) {
	wanted := map[tier.Name]int{}
	for _, value := range values {
		of, count, _ := strings.Cut(value, "=")
		name, err := tier.Parse(strings.TrimSpace(of))
		if err != nil {
			return nil, fmt.Errorf("want TIER=N: %w", err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(count))
		if err != nil || n < 1 || n > MaxReplicas {
			return nil, fmt.Errorf("%s=%s: want a number of replicas from 1 to %d", name, count, MaxReplicas)
		}
		if _, twice := wanted[name]; twice {
			return nil, fmt.Errorf("%s is named twice", name)
		}
		wanted[name] = n
	}
	return wanted, nil
}

// String implements pflag.Value.
func (r *Replicas) String() string {
	return strings.Join(asFlag(r.given), ",")
}

// Type implements pflag.Value.
func (r *Replicas) Type() string { return "TIER=N" }

// checkReplicas refuses replicas of what is left out.
func (o *Options) checkReplicas() error {
	if o.WithoutAggregator && o.Replicas.given[tier.Aggregator] > 0 {
		return fmt.Errorf("--replicas names %s, which --without-aggregator leaves out", tier.Aggregator)
	}
	return nil
}

// asFlag is the value of the flag for what a file says.
func asFlag(replicas map[tier.Name]int) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(replicas)) {
		all = append(all, fmt.Sprintf("%s=%d", name, replicas[name]))
	}
	return all
}
