package options

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/flagtable"
	"triptych.dev/triptych/internal/tier"
)

// Forwarded are the flags that the user gave for the tiers, uninterpreted and
// in the order given: what they mean is the tiers' business.
type Forwarded struct {
	given []setting
}

type setting struct{ name, value string }

// Values returns every value given for the flag, in order.
func (f *Forwarded) Values(name string) []string {
	var values []string
	for _, s := range f.given {
		if s.name == name {
			values = append(values, s.value)
		}
	}
	return values
}

// Last returns the last value given for the flag, or "".
func (f *Forwarded) Last(name string) string {
	values := f.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// Given tells whether the user gave the flag.
func (f *Forwarded) Given(name string) bool { return len(f.Values(name)) > 0 }

// Duration returns the last value given for the flag, or otherwise.
func (f *Forwarded) Duration(name string, otherwise time.Duration) time.Duration {
	d, err := time.ParseDuration(f.Last(name))
	if err != nil {
		return otherwise
	}
	return d
}

// For returns what the named tier of a chain with the given head is to be given.
func (f *Forwarded) For(name, head tier.Name) []setting {
	var settings []setting
	for _, s := range f.given {
		if flag, ok := flagtable.Lookup(s.name); ok && flag.KnownTo(name) && forwardTo(name, head, s.name) {
			settings = append(settings, s)
		}
	}
	return settings
}

// forwardTo makes the exceptions from the table. The delay is for load balancers
// to notice before the head drains; further in it would only add up.
func forwardTo(name, head tier.Name, flag string) bool {
	return flag != "shutdown-delay-duration" || name == head
}

func argument(name, value string) string { return "--" + name + "=" + value }

// check refuses early what the supervisor itself has to understand.
func (f *Forwarded) check() error {
	for _, name := range []string{"shutdown-delay-duration", "request-timeout", "shutdown-watch-termination-grace-period"} {
		if v := f.Last(name); v != "" {
			if d, err := time.ParseDuration(v); err != nil || d < 0 {
				return fmt.Errorf("--%s=%s is no duration: want one like 30s", name, v)
			}
		}
	}
	return nil
}

// addFlags adds every flag of the tiers to fs, hidden, but for those that the
// supervisor has itself.
func (f *Forwarded) addFlags(fs *pflag.FlagSet) {
	for _, flag := range flagtable.Flags {
		if fs.Lookup(flag.Name) != nil || slices.Contains(reserved, flag.Name) {
			continue
		}
		added := fs.VarPF(&recorder{to: f, flag: flag}, flag.Name, flag.Shorthand, flag.Usage)
		added.NoOptDefVal, added.Hidden = flag.NoOptDefVal, true
	}
}

// reserved are flags of the tiers' programs that are not for users.
var reserved = []string{"help", "version", "wiring"}

// recorder is a flag value that keeps what it is given.
type recorder struct {
	to   *Forwarded
	flag flagtable.Flag
}

func (r *recorder) Set(value string) error {
	r.to.given = append(r.to.given, setting{r.flag.Name, value})
	return nil
}

func (r *recorder) String() string { return r.flag.Default }
func (r *recorder) Type() string   { return r.flag.Type }

func dashes(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(flagtable.Normalize(name))
}

// Explain makes of pflag's error one that names what to do: pflag knows no
// suggestions.
func Explain(fs *pflag.FlagSet, err error) error {
	_, name, found := strings.Cut(err.Error(), "unknown flag: --")
	if !found {
		return err
	}
	return unknown(fs, name)
}

func unknown(fs *pflag.FlagSet, name string) error {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := flagtable.Nearest(name, names); near != "" {
		return fmt.Errorf("unknown flag --%s: neither the supervisor nor a tier has it; did you mean --%s?", name, near)
	}
	return fmt.Errorf("unknown flag --%s: neither the supervisor nor a tier has it", name)
}

// True tells whether the flag, a boolean, was last given as true.
func (f *Forwarded) True(name string) bool {
	yes, err := strconv.ParseBool(f.Last(name))
	return err == nil && yes
}
