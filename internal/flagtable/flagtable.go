// Package flagtable says which of kube-apiserver's flags exist and which tiers
// know each. The table is generated from the tiers' own flag sets, so that the
// supervisor can hand flags on without linking any of the tiers' code.
package flagtable

//go:generate go run ./generate zz_generated.flags.go ../../docs/reference/flags.md

import (
	"slices"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// Flag is one flag of the tiers.
type Flag struct {
	// Name is without dashes; Shorthand is one letter or empty.
	Name, Shorthand string
	// Usage, Type, Default and NoOptDefVal are as in pflag. NoOptDefVal is the
	// value of the flag when it is given without one, and empty if it needs one.
	Usage, Type, Default, NoOptDefVal string
	Deprecated                        bool
	// Tiers know the flag. It is handed to all of them.
	Tiers []tier.Name
}

// Lookup returns the flag called name, given without dashes. Like
// kube-apiserver it takes an underscore for a dash.
func Lookup(name string) (Flag, bool) {
	name = Normalize(name)
	for _, f := range Flags {
		if f.Name == name {
			return f, true
		}
	}
	return Flag{}, false
}

// Normalize returns name with dashes for underscores.
func Normalize(name string) string { return strings.ReplaceAll(name, "_", "-") }

// KnownTo tells whether the named tier knows the flag.
func (f Flag) KnownTo(name tier.Name) bool { return slices.Contains(f.Tiers, name) }
