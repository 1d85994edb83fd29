package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	netutil "k8s.io/apimachinery/pkg/util/net"

	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

// noReconciler as --endpoint-reconciler-type publishes no endpoint.
const noReconciler = "none"

// advertised is the address at which clients in the cluster find the head, as
// kube-apiserver chooses it. On a host without a head it is where its tiers are. On a machine that has loopback alone, which
// kube-apiserver refuses, it is loopback, and then nothing is published: the API
// still serves this machine.
func advertised(o *options.Options, here []tier.Name, head tier.Name) (net.IP, error) {
	if given := o.Forwarded.Last("advertise-address"); given != "" {
		return givenAddress(given, o.Forwarded.Last("endpoint-reconciler-type"))
	}
	for _, at := range o.TierListen { // of a host that clients do not find
		if !slices.Contains(here, head) && !at.Addr().IsUnspecified() {
			return at.Addr().AsSlice(), nil
		}
	}
	ip, err := netutil.ResolveBindAddress(o.BindAddress)
	if err != nil {
		return net.IPv4(127, 0, 0, 1), nil
	}
	return ip, nil
}

// givenAddress checks early what core would refuse late.
func givenAddress(given, reconciler string) (net.IP, error) {
	ip := net.ParseIP(given)
	if ip == nil {
		return nil, fmt.Errorf("--advertise-address=%s is no IP address", given)
	}
	if ip.IsLoopback() && reconciler != noReconciler {
		return nil, fmt.Errorf("--advertise-address=%s is loopback, where no pod finds the API: give an address that others reach, "+
			"or --endpoint-reconciler-type=%s to publish none", given, noReconciler)
	}
	return ip, nil
}

// serverURL is how this machine reaches the secure port.
func serverURL(o *options.Options, port int) string {
	host := o.BindAddress
	if host.IsUnspecified() {
		host = net.IPv4(127, 0, 0, 1)
		if o.BindAddress.To4() == nil {
			host = net.IPv6loopback
		}
	}
	return "https://" + net.JoinHostPort(host.String(), strconv.Itoa(port))
}

// serviceIPs are the addresses of the Service "kubernetes": the first of each
// range. What is no range is left to core, which says it better.
func serviceIPs(o *options.Options) []net.IP {
	var ips []net.IP
	for _, cidr := range o.ServiceRanges() {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			ips = append(ips, prefix.Masked().Addr().Next().AsSlice())
		}
	}
	return ips
}
