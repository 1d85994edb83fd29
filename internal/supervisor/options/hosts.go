package options

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// Tiers are those that run on this host; none is all of them.
type Tiers []tier.Name

// Set implements pflag.Value: TIER,TIER.
func (t *Tiers) Set(value string) error {
	for _, one := range strings.Split(value, ",") {
		name, err := tier.Parse(strings.TrimSpace(one))
		if err != nil {
			return err
		}
		if slices.Contains(*t, name) {
			return fmt.Errorf("%s is named twice", name)
		}
		*t = append(*t, name)
	}
	return nil
}

// String implements pflag.Value.
func (t *Tiers) String() string { return strings.Join(strs(*t), ",") }

// Type implements pflag.Value.
func (t *Tiers) Type() string { return "TIER,..." }

func strs[S ~string](all []S) []string {
	var out []string
	for _, one := range all {
		out = append(out, string(one))
	}
	return out
}

// Here returns the tiers of a chain with the given head that run on this host.
func (o *Options) Here(head tier.Name) []tier.Name {
	all := tier.UpTo(head)
	if len(o.Tiers) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(name tier.Name) bool { return !slices.Contains(o.Tiers, name) })
}

// TierListen is where the replicas of a tier listen for other hosts: replica n has its
// hop at port+2n and its handshake at port+2n+1.
type TierListen map[tier.Name]netip.AddrPort

// Set implements pflag.Value: TIER=IP:PORT, several of them with commas.
func (l TierListen) Set(value string) error {
	for _, one := range strings.Split(value, ",") {
		name, host, port, err := tierAddress(one)
		if err != nil {
			return err
		}
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return fmt.Errorf("%s: %q is no IP address of this host", one, host)
		}
		if _, twice := l[name]; twice {
			return fmt.Errorf("%s is named twice", name)
		}
		if last := int(port) + 2*MaxReplicas; last > 65535 {
			return fmt.Errorf("%s: replicas take two ports each from %d on: want one of at most %d", one, port, 65535-2*MaxReplicas)
		}
		l[name] = netip.AddrPortFrom(ip, port)
	}
	return nil
}

// String implements pflag.Value.
func (l TierListen) String() string { return strings.Join(pairs(l), ",") }

// Type implements pflag.Value.
func (l TierListen) Type() string { return "TIER=IP:PORT" }

// Address is where a tier is on other hosts. Host is an IP address, or a name of which
// each address is a host.
type Address struct {
	Host string
	Port uint16
}

// String returns HOST:PORT.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) }

// TierAt is where tiers are on other hosts.
type TierAt map[tier.Name][]Address

// Set implements pflag.Value: TIER=HOST:PORT, several of them with commas.
func (t TierAt) Set(value string) error {
	for _, one := range strings.Split(value, ",") {
		name, host, port, err := tierAddress(one)
		if err != nil {
			return err
		}
		at := Address{Host: host, Port: port}
		if slices.Contains(t[name], at) {
			return fmt.Errorf("%s is named twice", one)
		}
		t[name] = append(t[name], at)
	}
	return nil
}

// String implements pflag.Value.
func (t TierAt) String() string {
	var all []string
	for _, name := range tier.Order {
		for _, at := range t[name] {
			all = append(all, string(name)+"="+at.String())
		}
	}
	return strings.Join(all, ",")
}

// Type implements pflag.Value.
func (t TierAt) Type() string { return "TIER=HOST:PORT" }

// tierAddress reads TIER=HOST:PORT.
func tierAddress(value string) (name tier.Name, host string, port uint16, err error) {
	of, address, _ := strings.Cut(value, "=")
	if name, err = tier.Parse(of); err != nil {
		return "", "", 0, fmt.Errorf("want TIER=HOST:PORT: %w", err)
	}
	host, digits, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return "", "", 0, fmt.Errorf("%s: want TIER=HOST:PORT, and brackets around an IPv6 address", value)
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 || n == 65535 {
		return "", "", 0, fmt.Errorf("%s: %q is no port that has a next one: want 1 to 65534", value, digits)
	}
	return name, host, uint16(n), nil
}

// CheckHosts refuses tiers on several hosts that could not work. head is the tier with
// the secure port.
func (o *Options) CheckHosts(head tier.Name) error {
	here := o.Here(head)
	if len(here) == 0 {
		return fmt.Errorf("--tiers=%s leaves nothing to run where %s is the head", &o.Tiers, head)
	}
	var errs []error
	for _, name := range tier.UpTo(head) {
		if !slices.Contains(here, name) && len(o.TierAt[name]) == 0 {
			errs = append(errs, fmt.Errorf("--tiers leaves out %s: say by --tier-at %[1]s=HOST:PORT where it is", name))
		}
	}
	for name := range o.TierListen {
		if !slices.Contains(here, name) {
			errs = append(errs, fmt.Errorf("--tier-listen names %s, which does not run here", name))
		}
	}
	if several := len(o.Tiers) > 0 && len(here) < len(tier.UpTo(head)) || len(o.TierListen) > 0 || len(o.TierAt) > 0; several && len(o.EtcdServers) == 0 {
		errs = append(errs, errors.New("tiers on several hosts need an etcd that all of them reach, and the supervisor's own is for one host: give --etcd-servers"))
	}
	if !slices.Contains(here, head) {
		if o.InsecurePort != 0 {
			errs = append(errs, fmt.Errorf("--insecure-port leads to %s, which does not run here", head))
		}
		if o.SecurePort == 0 {
			errs = append(errs, fmt.Errorf("--secure-port=0 picks a free one, and %s does not run here: give the port that it has elsewhere", head))
		}
	}
	return errors.Join(errs...)
}
