package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	netutil "k8s.io/apimachinery/pkg/util/net"

	"triptych.dev/triptych/internal/supervisor/options"
)

// advertised is the address at which clients in the cluster find the head, as
// kube-apiserver chooses it. A machine that has loopback alone gets loopback:
// the API then works from this machine, and core says in its log that it cannot
// publish such an address as an endpoint.
func advertised(o *options.Options) (net.IP, error) {
	if given := o.Forwarded.Last("advertise-address"); given != "" {
		ip := net.ParseIP(given)
		if ip == nil {
			return nil, fmt.Errorf("--advertise-address=%s is no IP address", given)
		}
		return ip, nil
	}
	ip, err := netutil.ResolveBindAddress(o.BindAddress)
	if err != nil {
		return net.IPv4(127, 0, 0, 1), nil
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
