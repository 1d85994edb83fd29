package options

import (
	"strings"
	"time"

	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

const (
	// defaultServiceRange is kubeadm's.
	defaultServiceRange = "10.96.0.0/16"
	// defaultIssuer is kubeadm's with the default domain.
	defaultIssuer = "https://kubernetes.default.svc.cluster.local"
	// DefaultWatchGrace replaces kube-apiserver's default of waiting for watches
	// that never end: they are ended over this time when a tier stops.
	DefaultWatchGrace = 10 * time.Second
	// DefaultRequestTimeout is kube-apiserver's.
	DefaultRequestTimeout = 60 * time.Second
	// EmulatedVersion is the flag of the minor of Kubernetes whose API is served.
	EmulatedVersion = "emulated-version"
	// DefaultAuditWebhookBackoff is kube-apiserver's first pause before it asks an
	// audit webhook again.
	DefaultAuditWebhookBackoff = 10 * time.Second
)

// Given is what the tiers are told that does not come from the user.
type Given struct {
	// Head is the tier with the secure port.
	Head tier.Name
	// Wiring is the path of the tier's wiring file.
	Wiring string
	// EtcdServers, EtcdCA and EtcdClient are how the tier reaches etcd. EtcdCA
	// and EtcdClient are empty for an etcd without TLS.
	EtcdServers []string
	EtcdCA      string
	EtcdClient  wiring.KeyPair
	// PKI names the certificates that were made.
	PKI pki.Paths
	// Advertise is the address of the kubernetes Service's endpoint, and
	// Reconciler how that is published; empty is kube-apiserver's default.
	Advertise, Reconciler string
	// SSHKey is core's where nodes are reached by SSH, else empty.
	SSHKey string
	// Emulate is the minor of Kubernetes to emulate while tiers are upgraded, such as
	// 1.37; empty is the program's own.
	Emulate string
}

// Arguments returns the command line of the named tier: what is given, ours
// where the user says nothing, and the user's flags.
func (o *Options) Arguments(name tier.Name, g Given) []string {
	args := []string{argument("wiring", g.Wiring)}
	for _, s := range o.defaults(name, g) {
		if s.value != "" && !o.overridden(name, s.name) {
			args = append(args, argument(s.name, s.value))
		}
	}
	for _, s := range o.Forwarded.For(name, g.Head) {
		if !o.TierFlags.Given(name, s.name) {
			args = append(args, argument(s.name, s.value))
		}
	}
	for _, s := range o.TierFlags.For(name) {
		args = append(args, argument(s.name, s.value))
	}
	return args
}

// overridden tells whether the user set the flag for the named tier, or one that
// excludes it.
func (o *Options) overridden(name tier.Name, flag string) bool {
	if o.Forwarded.Given(flag) || o.TierFlags.Given(name, flag) {
		return true
	}
	for _, other := range excludedBy[flag] {
		if o.Forwarded.Given(other) {
			return true
		}
	}
	return false
}

// excludedBy lists flags that kube-apiserver refuses beside one of ours.
var excludedBy = map[string][]string{
	"authorization-mode":               {"authorization-config"},
	"service-account-signing-key-file": {"service-account-signing-endpoint"},
	"service-account-key-file":         {"service-account-signing-endpoint"},
}

func (o *Options) defaults(name tier.Name, g Given) []setting {
	all := []setting{
		{"etcd-servers", strings.Join(g.EtcdServers, ",")},
		{"etcd-cafile", g.EtcdCA},
		{"etcd-certfile", g.EtcdClient.Cert},
		{"etcd-keyfile", g.EtcdClient.Key},
		{"authorization-mode", "Node,RBAC"},
		{EmulatedVersion, g.Emulate},
		{"shutdown-watch-termination-grace-period", DefaultWatchGrace.String()},
	}
	if name == g.Head {
		all = append(all, headDefaults(g)...)
	}
	switch name {
	case tier.Core:
		return append(all, append(coreDefaults(g), authenticationDefaults(g.PKI)...)...)
	case tier.Aggregator:
		return append(all, append(aggregatorDefaults(g), authenticationDefaults(g.PKI)...)...)
	}
	return all
}

func coreDefaults(g Given) []setting {
	kubelet := g.PKI.KubeletClient()
	return []setting{
		{"advertise-address", g.Advertise},
		{"endpoint-reconciler-type", g.Reconciler},
		{"service-cluster-ip-range", defaultServiceRange},
		{"service-account-key-file", g.PKI.ServiceAccountPub()},
		{"service-account-signing-key-file", g.PKI.ServiceAccountKey()},
		{"service-account-issuer", defaultIssuer},
		{"kubelet-client-certificate", kubelet.Cert},
		{"kubelet-client-key", kubelet.Key},
		{"ssh-keyfile", g.SSHKey},
		{"enable-bootstrap-token-auth", "true"},
		{"allow-privileged", "true"},
	}
}

func headDefaults(g Given) []setting {
	server := g.PKI.APIServer()
	return []setting{
		{"tls-cert-file", server.Cert},
		{"tls-private-key-file", server.Key},
	}
}

func aggregatorDefaults(g Given) []setting {
	proxy := g.PKI.FrontProxyClient()
	return []setting{
		{"proxy-client-cert-file", proxy.Cert},
		{"proxy-client-key-file", proxy.Key},
	}
}

// authenticationDefaults are kubeadm's. Core is given them too: it publishes
// them for aggregated API servers.
func authenticationDefaults(p pki.Paths) []setting {
	return []setting{
		{"client-ca-file", p.CA().Cert},
		{"requestheader-client-ca-file", p.FrontProxyCA().Cert},
		{"requestheader-allowed-names", "front-proxy-client"},
		{"requestheader-extra-headers-prefix", "X-Remote-Extra-"},
		{"requestheader-group-headers", "X-Remote-Group"},
		{"requestheader-username-headers", "X-Remote-User"},
	}
}

// ServiceRanges returns the CIDRs of cluster IPs, unchecked.
func (o *Options) ServiceRanges() []string {
	ranges := o.Forwarded.Last("service-cluster-ip-range")
	if ranges == "" {
		ranges = defaultServiceRange
	}
	return strings.Split(ranges, ",")
}
