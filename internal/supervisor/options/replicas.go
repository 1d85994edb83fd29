package options

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// MaxReplicas bounds the processes of a tier on one machine.
const MaxReplicas = 16

// Replicas is how many processes each tier has; a tier without an entry has one.
type Replicas map[tier.Name]int

// Of returns how many processes the named tier has.
func (r Replicas) Of(name tier.Name) int { return max(r[name], 1) }

// Set implements pflag.Value: TIER=N, several of them with commas.
func (r Replicas) Set(value string) error {
	wanted, err := ParseReplicas(strings.Split(value, ","))
	maps.Copy(r, wanted)
	return err
}

// ParseReplicas reads TIER=N, N from 1 to MaxReplicas.
func ParseReplicas(values []string) (Replicas, error) {
	wanted := Replicas{}
	for _, value := range values {
		of, count, _ := strings.Cut(value, "=")
		name, err := tier.Parse(of)
		if err != nil {
			return nil, fmt.Errorf("want TIER=N: %w", err)
		}
		n, err := strconv.Atoi(count)
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
func (r Replicas) String() string { return strings.Join(pairs(r), ",") }

// Type implements pflag.Value.
func (r Replicas) Type() string { return "TIER=N" }
