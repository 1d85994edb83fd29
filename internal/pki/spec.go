package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// authoritySpec is a CA that is wanted.
type authoritySpec struct{ name, commonName string }

func authorities(embeddedEtcd bool) []authoritySpec {
	all := []authoritySpec{
		{caName, "kubernetes"},
		{frontProxyCAName, "front-proxy-ca"},
		{internalCAName, "triptych-internal-ca"},
	}
	if embeddedEtcd {
		all = append(all, authoritySpec{etcdCAName, "etcd-ca"})
	}
	return all
}

// leafSpec is a leaf certificate that is wanted.
type leafSpec struct {
	name    string
	subject pkix.Name
	names   names
	usage   x509.ExtKeyUsage
	// short: it is good for Options.Validity, and replaced while the supervisor runs.
	short bool
	// freshKey: it gets another key each time. Who reads key and certificate at each handshake, as etcd and its clients do,
	// would find two that do not go together in between.
	freshKey bool
}

// names are subject alternative names.
type names struct {
	dns  []string
	ips  []net.IP
	uris []*url.URL
}

func client(name, commonName string, organization ...string) leafSpec {
	return leafSpec{
		name:    name,
		subject: pkix.Name{CommonName: commonName, Organization: organization},
		usage:   x509.ExtKeyUsageClientAuth,
	}
}

func serving(name, commonName string, names names) leafSpec {
	return leafSpec{
		name:    name,
		subject: pkix.Name{CommonName: commonName},
		names:   names,
		usage:   x509.ExtKeyUsageServerAuth,
	}
}

// leaves is the table of all leaf certificates by the name of their CA.
func (e *ensurer) leaves() (map[string][]leafSpec, error) {
	hosts, err := e.hosts()
	if err != nil {
		return nil, err
	}
	table := map[string][]leafSpec{
		// A kubelet asks the API whether the caller may; the API always says
		// yes to system:masters. kubeadm's kubeadm:cluster-admins would need
		// a binding that nobody has made here.
		caName:           {client(kubeletClientName, "kube-apiserver-kubelet-client", "system:masters")},
		frontProxyCAName: {client(frontProxyClientName, "front-proxy-client")},
		internalCAName:   internalLeaves(),
		etcdCAName:       etcdLeaves(),
	}
	if e.TLSCertFile == "" {
		table[caName] = append(table[caName], serving(apiserverName, "kube-apiserver", hosts))
	}
	return table, nil
}

// etcdLeaves gives each tier a client certificate of its own. Its common name
// is the user that etcd's access control, once on, knows the tier by.
func etcdLeaves() []leafSpec {
	loopback := names{
		dns: []string{"localhost"},
		ips: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	leaves := []leafSpec{
		serving(etcdServerName, "etcd", loopback),
		client(etcdClientName, "kube-apiserver-etcd-client"),
	}
	for _, name := range holders() {
		leaves = append(leaves, client(etcdClientOf(name), string(name)))
	}
	for i := range leaves {
		leaves[i].short = leaves[i].name != etcdClientName // which is for people
	}
	return leaves
}

func internalLeaves() []leafSpec {
	var leaves []leafSpec
	for _, name := range holders() {
		leaves = append(leaves, peer(identity.Peer{Name: name, Role: identity.Self}))
		if delegates(name) {
			leaves = append(leaves, peer(identity.Peer{Name: name, Role: identity.Delegation}))
		}
		if name != identity.Supervisor {
			server := identity.ServerName(name)
			leaves = append(leaves, serving(internalServing(name), server, names{dns: []string{server}}))
		}
	}
	for i := range leaves {
		leaves[i].short, leaves[i].freshKey = true, true
	}
	return leaves
}

func peer(p identity.Peer) leafSpec {
	l := client(internalClient(p.Name, p.Role), p.String())
	l.names = names{uris: []*url.URL{p.URI()}}
	return l
}

func holders() []tier.Name { return append([]tier.Name{identity.Supervisor}, tier.Order...) }

// hosts are the names and addresses of the secure port.
func (e *ensurer) hosts() (names, error) {
	n := names{
		dns: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local", "localhost"},
		ips: append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, e.ServiceIPs...),
	}
	// A machine's own name may be none that a certificate can hold; nobody
	// asked for it, so it is left out.
	if host, err := os.Hostname(); err == nil && isDNSName(strings.ToLower(host)) {
		n.dns = append(n.dns, strings.ToLower(host))
	}
	for _, host := range e.Hosts {
		ip, dns := net.ParseIP(host), strings.ToLower(host)
		switch {
		case ip != nil:
			n.ips = append(n.ips, ip)
		case isDNSName(dns):
			n.dns = append(n.dns, dns)
		default:
			return names{}, fmt.Errorf("%q can be no name of the API server: give a DNS name or an IP address", host)
		}
	}
	return n, nil
}

func isDNSName(s string) bool {
	if strings.HasPrefix(s, "*.") {
		return len(validation.IsWildcardDNS1123Subdomain(s)) == 0
	}
	return len(validation.IsDNS1123Subdomain(s)) == 0
}
