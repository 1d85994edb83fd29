package pki

import (
	"path/filepath"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// Names of files below DIR/pki without .crt and .key, kubeadm's where it has
// one. Internal leaves are named by internalServing and internalClient.
const (
	caName               = "ca"
	frontProxyCAName     = "front-proxy-ca"
	etcdCAName           = "etcd/ca"
	internalCAName       = "internal/ca"
	nextCAName           = "internal/next-ca" // while internal/ca is being replaced
	serviceAccountName   = "sa"
	apiserverName        = "apiserver"
	kubeletClientName    = "apiserver-kubelet-client"
	frontProxyClientName = "front-proxy-client"
	etcdServerName       = "etcd/server"
	etcdClientName       = "apiserver-etcd-client"
	sshName              = "ssh"
)

// Paths names the files that Ensure makes in a data directory.
type Paths struct{ Dir datadir.Dir }

// CA is the CA of clients and of the secure port.
func (p Paths) CA() wiring.KeyPair { return p.pair(caName) }

// FrontProxyCA is the CA of those who may speak for others to aggregated
// API servers.
func (p Paths) FrontProxyCA() wiring.KeyPair { return p.pair(frontProxyCAName) }

// EtcdCA is the CA of etcd and its clients.
func (p Paths) EtcdCA() wiring.KeyPair { return p.pair(etcdCAName) }

// APIServer is shown on the secure port.
func (p Paths) APIServer() wiring.KeyPair { return p.pair(apiserverName) }

// KubeletClient is core's towards kubelets.
func (p Paths) KubeletClient() wiring.KeyPair { return p.pair(kubeletClientName) }

// FrontProxyClient is the aggregator's towards aggregated API servers.
func (p Paths) FrontProxyClient() wiring.KeyPair { return p.pair(frontProxyClientName) }

// EtcdServer is shown by the embedded etcd.
func (p Paths) EtcdServer() wiring.KeyPair { return p.pair(etcdServerName) }

// EtcdClient is a tier's, or identity.Supervisor's, towards etcd.
func (p Paths) EtcdClient(name tier.Name) wiring.KeyPair { return p.pair(etcdClientOf(name)) }

// ServiceAccountKey signs service-account tokens; the aggregator and extensions
// must not get to see it.
func (p Paths) ServiceAccountKey() string { return p.file(serviceAccountName, ".key") }

// ServiceAccountPub verifies what ServiceAccountKey signs.
func (p Paths) ServiceAccountPub() string { return p.file(serviceAccountName, ".pub") }

// SSHKey is core's towards nodes where they are reached by SSH.
func (p Paths) SSHKey() string { return p.file(sshName, ".key") }

// Internal are the internal certificates of a tier, as its wiring has them.
// identity.Supervisor has no Serving.
func (p Paths) Internal(name tier.Name) wiring.PKI {
	w := wiring.PKI{CA: p.pair(internalCAName).Cert, Self: p.pair(internalClient(name, identity.Self))}
	if name != identity.Supervisor {
		w.Serving = p.pair(internalServing(name))
	}
	if delegates(name) {
		w.Delegation = p.pair(internalClient(name, identity.Delegation))
	}
	return w
}

// delegates tells who may speak for others: who has a next tier, and the
// supervisor, whose insecure listener delegates to the head.
func delegates(name tier.Name) bool {
	_, ok := name.Delegate()
	return ok || name == identity.Supervisor
}

func etcdClientOf(name tier.Name) string { return "etcd/" + string(name) + "-client" }

func internalServing(name tier.Name) string { return "internal/" + string(name) + "-serving" }

func internalClient(name tier.Name, role identity.Role) string {
	return "internal/" + string(name) + "-" + string(role)
}

func (p Paths) pair(name string) wiring.KeyPair {
	return wiring.KeyPair{Cert: p.file(name, ".crt"), Key: p.file(name, ".key")}
}

func (p Paths) file(name, extension string) string {
	return filepath.Join(p.Dir.PKI(), filepath.FromSlash(name)+extension)
}

// Shared are the files that all hosts of a cluster have in common, whether they are
// there or not: what signs, and not what one host was signed.
func (p Paths) Shared() []string {
	files := []string{p.ServiceAccountKey(), p.ServiceAccountPub(), p.SSHKey()}
	for _, name := range []string{caName, frontProxyCAName, internalCAName} {
		pair := p.pair(name)
		files = append(files, pair.Cert, pair.Key)
	}
	return files
}
