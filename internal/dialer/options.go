// Package dialer decides how the tiers reach what runs on nodes: kubelets, pods,
// Services and the webhooks and API servers behind them. Without SSH they dial, or
// do what --egress-selector-config-file says. With it, core alone holds the key and
// the tunnels; the other tiers ask core for connections over the hop.
//
// In all of them the way is upstream's: the egress selector for the network context
// "cluster".
package dialer

import (
	"errors"

	"github.com/spf13/pflag"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"

	"triptych.dev/triptych/internal/sshaccess"
)

// Options are the flags. Zero values of all but Port are the defaults.
type Options struct{ sshaccess.Access }

// NewOptions returns the defaults: no SSH.
func NewOptions() *Options { return &Options{sshaccess.Access{Port: sshaccess.DefaultPort}} }

// AddFlags registers what every tier is told: whether there is SSH.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.User, "ssh-user", o.User, "User on every node through whose sshd kubelets, pods and Services are reached; empty: they are reached directly.")
}

// AddKeyFlags registers what core is told besides.
func (o *Options) AddKeyFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.KeyFile, "ssh-keyfile", o.KeyFile, "File with the private key of --ssh-user.")
	fs.StringVar(&o.KnownHostsFile, "ssh-known-hosts", o.KnownHostsFile, "File with the host keys of the nodes and the bastion, or of the authority that signed them, as in OpenSSH. Read for every login.")
	fs.StringVar(&o.Bastion, "ssh-bastion", o.Bastion, "USER@HOST:PORT of the one machine through which the nodes' sshd is reached.")
	fs.IntVar(&o.Port, "ssh-port", o.Port, "Port of the nodes' sshd.")
}

// enabled tells whether nodes are reached by SSH.
func (o *Options) enabled() bool { return o.User != "" }

// errBoth: one way to the nodes is enough.
var errBoth = errors.New("--ssh-user and the egress selection \"cluster\" of --egress-selector-config-file are two ways to the nodes: give one")

// selectCluster has everything that is for nodes dialed by dial, and leaves the
// rest as it was.
func selectCluster(c *genericapiserver.Config, dial utilnet.DialFunc) error {
	dials := map[egressselector.EgressType]utilnet.DialFunc{egressselector.Cluster: dial}
	for _, other := range []egressselector.EgressType{egressselector.Cluster, egressselector.ControlPlane, egressselector.Etcd} {
		if c.EgressSelector == nil {
			break
		}
		chosen, err := c.EgressSelector.Lookup(other.AsNetworkContext())
		if err != nil {
			return err
		}
		if chosen != nil && other == egressselector.Cluster {
			return errBoth
		}
		if chosen != nil {
			dials[other] = chosen
		}
	}
	c.EgressSelector = egressselector.NewEgressSelectorWithMap(dials)
	return nil
}
