package options

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/flagtable"
	"triptych.dev/triptych/internal/tier"
)

// Reach is how far a change of a setting reaches: what has to be done for it to count.
type Reach string

const (
	// Live changes count at once.
	Live Reach = "live"
	// TierRestart changes count for processes that start from then on.
	TierRestart Reach = "tier restart"
	// FullRestart changes need a supervisor that is started again.
	FullRestart Reach = "full restart"
)

// reaches are by the top of a setting's path; what is not here needs a FullRestart. It is
// so for the flags of all tiers: the tiers have to agree on most, and the supervisor reads
// many itself.
var reaches = map[string]Reach{"replicas": Live, "memoryLimits": Live, "cpuLimits": TierRestart, "pidsLimits": TierRestart, "tierFlags": TierRestart}

// ReachOf returns the reach of a setting.
func ReachOf(setting string) Reach {
	if reach, ok := reaches[top(setting)]; ok {
		return reach
	}
	name, ok := strings.CutPrefix(setting, "flags.")
	if ok && slices.Contains(perTier, name) && !slices.Contains(supervisorsToo, name) {
		return TierRestart
	}
	return FullRestart
}

// supervisorsToo are those of perTier that count for the supervisor and its etcd as well.
var supervisorsToo = []string{"v", "vmodule", "logging-format"}

// Change is a setting that differs. What is empty is left out.
type Change struct {
	Setting  string
	From, To string
	Reach    Reach
	// Tiers are the ones that the setting concerns, for all but FullRestart.
	Tiers []tier.Name
}

// Changes tells what another configuration would change, in the order of the file.
func (o *Options) Changes(to *Options) []Change {
	before, after := o.Effective().paths(), to.Effective().paths()
	both := maps.Clone(before)
	maps.Copy(both, after)
	order := Settings()
	var all []Change
	for setting := range both {
		if before[setting] == after[setting] {
			continue
		}
		c := Change{Setting: setting, From: before[setting], To: after[setting], Reach: ReachOf(setting)}
		if c.Reach != FullRestart {
			c.Tiers = concerned(setting)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Change) int {
		if i, j := slices.Index(order, top(a.Setting)), slices.Index(order, top(b.Setting)); i != j {
			return i - j
		}
		return strings.Compare(a.Setting, b.Setting)
	})
	return all
}

// concerned are the tiers that a setting is for.
func concerned(setting string) []tier.Name {
	parts := strings.Split(setting, ".")
	if parts[0] == "flags" {
		flag, _ := flagtable.Lookup(parts[1])
		return flag.Tiers
	}
	return []tier.Name{tier.Name(parts[1])}
}

// Adopt returns the options as they are once everything of another configuration is in
// force that needs no FullRestart: what does stays as it is here.
func (o *Options) Adopt(to *Options) *Options {
	merged := *o
	merged.file, merged.origins, merged.given = to.file, to.origins, to.given
	merged.Replicas, merged.MemoryLimits, merged.CPULimits, merged.PidsLimits, merged.TierFlags = to.Replicas, to.MemoryLimits, to.CPULimits, to.PidsLimits, to.TierFlags
	own := func(s setting) bool { return ReachOf("flags."+s.name) == TierRestart }
	merged.Forwarded = &Forwarded{given: slices.Concat(
		slices.DeleteFunc(slices.Clone(o.Forwarded.given), own),
		slices.DeleteFunc(slices.Clone(to.Forwarded.given), func(s setting) bool { return !own(s) }),
	)}
	merged.AddFlags(pflag.NewFlagSet("run", pflag.ContinueOnError)) // by which they are read
	return &merged
}
