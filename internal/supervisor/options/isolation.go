package options

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// usersOff is the --user-range with which all processes run as the supervisor's user.
const usersOff = "off"

// etcdUser is what etcd is called among TierUsers.
const etcdUser = "etcd"

// UserRange are the user ids that processes may be given, and group ids of the same numbers.
type UserRange struct {
	// Off: all processes run as the supervisor's user.
	Off bool
	// First and Last are 0 unless the user gave them.
	First, Last uint32
}

// defaultUsers are kept free by distributions (Debian: 65000 to 65533), and exist inside of a container's
// usual 65536 too.
var defaultUsers = UserRange{First: 65000, Last: 65499}

// Set implements pflag.Value.
func (r *UserRange) Set(value string) error {
	if value == usersOff {
		*r = UserRange{Off: true}
		return nil
	}
	first, last, _ := strings.Cut(value, "-")
	a, errFirst := strconv.ParseUint(first, 10, 32)
	b, errLast := strconv.ParseUint(last, 10, 32)
	if errFirst != nil || errLast != nil || a == 0 || b < a+uint64(len(tier.Order)) || b == 1<<32-1 {
		return fmt.Errorf("want FIRST-LAST, numbers above 0 of at least %d users, or %s", len(tier.Order)+1, usersOff)
	}
	*r = UserRange{First: uint32(a), Last: uint32(b)}
	return nil
}

// String implements pflag.Value.
func (r *UserRange) String() string {
	switch {
	case r.Off:
		return usersOff
	case r.Last == 0:
		return ""
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Type implements pflag.Value.
func (r *UserRange) Type() string { return "FIRST-LAST" }

// TierUsers are names of users that exist, by tier and etcd.
type TierUsers map[string]string

// Set implements pflag.Value: TIER=NAME, several of them with commas.
func (u TierUsers) Set(value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		of, name, _ := strings.Cut(pair, "=")
		if _, err := tier.Parse(of); err != nil && of != etcdUser {
			return fmt.Errorf("want TIER=NAME, TIER also %s: %w", etcdUser, err)
		}
		if name == "" {
			return fmt.Errorf("%q names no user: want one like core=triptych-core", pair)
		}
		u[of] = name
	}
	return nil
}

// String implements pflag.Value.
func (u TierUsers) String() string {
	return strings.Join(pairs(u), ",")
}

// Type implements pflag.Value.
func (u TierUsers) Type() string { return "TIER=NAME" }

// Apart tells whether each process is to be a user of its own, and from which range if they
// are not named: always, where the supervisor is root and nobody has turned it off.
func (o *Options) Apart() (UserRange, bool) {
	switch {
	case o.UserRange.Off || os.Geteuid() != 0:
		return UserRange{}, false
	case o.UserRange.Last == 0:
		return defaultUsers, true
	}
	return o.UserRange, true
}

// AskedApart tells whether somebody asked for what Apart says, so that it must not be done without.
func (o *Options) AskedApart() bool { return o.UserRange.Last != 0 || len(o.TierUsers) > 0 }

// checkIsolation refuses what cannot be had, so that nobody believes to have it.
func (o *Options) checkIsolation() error {
	named := len(o.TierUsers) > 0
	switch {
	case os.Geteuid() != 0 && (named || o.UserRange.Last != 0):
		return errors.New("--user-range and --tier-user are for a supervisor that is root: start it as root, or leave them out")
	case named && o.UserRange.Off:
		return errors.New("--tier-user has no use with --user-range=off: give one of them")
	case !named:
		return nil
	}
	seen := map[string]string{}
	for _, name := range slices.Concat([]string{etcdUser}, names(tier.Order)) {
		user, ok := o.TierUsers[name]
		if !ok {
			return fmt.Errorf("--tier-user names no user for %s: give one for each tier and for %s, or none at all", name, etcdUser)
		}
		if other, twice := seen[user]; twice {
			return fmt.Errorf("--tier-user gives %s and %s the same user %s: each needs one of its own", other, name, user)
		}
		seen[user] = name
	}
	return nil
}

func names(tiers []tier.Name) []string {
	all := make([]string, len(tiers))
	for i, name := range tiers {
		all[i] = string(name)
	}
	return all
}

// PidsLimits are how many threads a process may have, by tier.
type PidsLimits map[tier.Name]int

// DefaultPids is many times what a process needs, and no harm to the machine.
const DefaultPids = 2048

// leastPids is what a busy process needs.
const leastPids = 64

// Of returns the limit of the named tier.
func (l PidsLimits) Of(name tier.Name) int {
	if n, ok := l[name]; ok {
		return n
	}
	return DefaultPids
}

// Set implements pflag.Value: TIER=N, several of them with commas.
func (l PidsLimits) Set(value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		of, count, _ := strings.Cut(pair, "=")
		name, err := tier.Parse(of)
		if err != nil {
			return fmt.Errorf("want TIER=N: %w", err)
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < leastPids {
			return fmt.Errorf("%q: want a number of threads, at least %d", pair, leastPids)
		}
		l[name] = n
	}
	return nil
}

// String implements pflag.Value.
func (l PidsLimits) String() string { return strings.Join(pairs(l), ",") }

// Type implements pflag.Value.
func (l PidsLimits) Type() string { return "TIER=N" }
