package options

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/flagtable"
	"triptych.dev/triptych/internal/tier"
)

// perTier are the flags that may differ from tier to tier: what one process
// carries, what it says of itself and who it is to an etcd of the user's. All others describe the one API that the
// tiers make together, or are read by the supervisor too.
var perTier = []string{
	"contention-profiling", "default-watch-cache-size", "delete-collection-workers", "etcd-certfile", "etcd-keyfile", "livez-grace-period", "logging-format",
	"max-mutating-requests-inflight", "max-requests-inflight", "profiling", "v", "vmodule", "watch-cache", "watch-cache-sizes",
}

// TierFlags are flags for one tier each, which win over the same flags for all.
type TierFlags struct {
	given map[tier.Name][]setting
}

// For returns what the named tier alone is to be given.
func (f *TierFlags) For(name tier.Name) []setting { return f.given[name] }

// Given tells whether the named tier has a value of its own for the flag.
func (f *TierFlags) Given(name tier.Name, flag string) bool {
	return slices.ContainsFunc(f.given[name], func(s setting) bool { return s.name == flag })
}

// Set implements pflag.Value: TIER=FLAG=VALUE, with or without dashes before FLAG.
func (f *TierFlags) Set(value string) error {
	name, rest, _ := strings.Cut(value, "=")
	flag, value, valued := strings.Cut(strings.TrimLeft(rest, "-"), "=")
	of, err := tier.Parse(name)
	if err == nil && flag == "" {
		err = errors.New("no flag")
	}
	if err != nil {
		return fmt.Errorf("want TIER=FLAG=VALUE: %w", err)
	}
	return f.set(of, flag, value, valued)
}

func (f *TierFlags) set(name tier.Name, flag, value string, valued bool) error {
	known, ok := flagtable.Lookup(flag)
	switch {
	case !ok || !slices.Contains(perTier, known.Name):
		return fmt.Errorf("--%s cannot differ from tier to tier, only %s can", flagtable.Normalize(flag), strings.Join(perTier, ", "))
	case !known.KnownTo(name):
		return fmt.Errorf("%s has no --%s", name, known.Name)
	case !valued && known.NoOptDefVal == "":
		return fmt.Errorf("--%s needs a value: want %s=%s=VALUE", known.Name, name, known.Name)
	case !valued:
		value = known.NoOptDefVal
	}
	if f.given == nil {
		f.given = map[tier.Name][]setting{}
	}
	f.given[name] = append(f.given[name], setting{known.Name, value})
	return nil
}

// String implements pflag.Value.
func (f *TierFlags) String() string {
	var all []string
	for _, name := range tier.Order {
		for _, s := range f.given[name] {
			all = append(all, fmt.Sprintf("%s=%s=%s", name, s.name, s.value))
		}
	}
	return strings.Join(all, ",")
}

// Type implements pflag.Value.
func (f *TierFlags) Type() string { return "TIER=FLAG=VALUE" }

// checkLeftOut refuses what would be for nobody.
func (o *Options) checkLeftOut() error {
	if !o.WithoutAggregator {
		return nil
	}
	for flag, given := range map[string]bool{
		"tier-flag":    len(o.TierFlags.For(tier.Aggregator)) > 0,
		"replicas":     o.Replicas[tier.Aggregator] > 0,
		"memory-limit": o.MemoryLimits[tier.Aggregator] > 0,
		"cpu-limit":    o.CPULimits[tier.Aggregator] > 0,
		"pids-limit":   o.PidsLimits[tier.Aggregator] > 0,
	} {
		if given {
			return fmt.Errorf("--%s names %s, which --without-aggregator leaves out", flag, tier.Aggregator)
		}
	}
	return nil
}

// pairs are TIER=VALUE, in the order of names, as flags take what a file has by tier.
func pairs[K ~string, V any](of map[K]V) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%s=%v", name, of[name]))
	}
	return all
}

// readTierFlags sets the flags of single tiers that the file names, all or, as with
// any flag that is given on the command line too, none.
func (f *File) readTierFlags(o *Options, fs *pflag.FlagSet) error {
	if fs.Changed("tier-flag") {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.TierFlags)) {
		flags := f.TierFlags[name]
		for _, flag := range slices.Sorted(maps.Keys(flags)) {
			for _, value := range flags[flag] {
				if err := o.TierFlags.Set(string(name) + "=" + flag + "=" + value); err != nil {
					return fmt.Errorf("cannot use %s: tierFlags: %w", o.called(o.origins["tierFlags."+string(name)+"."+flag]), err)
				}
			}
		}
	}
	return nil
}
