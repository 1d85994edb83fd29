package dialer

import (
	"context"
	"net"
	"sync"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	egress "k8s.io/apiserver/pkg/apis/apiserver"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// Ask has a tier other than core ask core for connections to nodes, by CONNECT with
// the certificate by which it makes its own calls.
func (o *Options) Ask(p *process.Process, c *genericapiserver.Config) error {
	if !o.enabled() {
		return nil
	}
	core, err := p.Watch(tier.Core)
	if err != nil {
		return err
	}
	a := &asker{core: core, pki: p.Wiring.PKI, dials: map[string]utilnet.DialFunc{}}
	return selectCluster(c, direct(a.DialContext))
}

// asker asks the replica of core that is of most use.
type asker struct {
	core *handshake.Replicas
	pki  wiring.PKI

	mu    sync.Mutex
	dials map[string]utilnet.DialFunc // by the address of core's hop listener
}

// DialContext returns a connection to address, on a node.
func (a *asker) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	at, ok := a.core.Choose()
	if !ok {
		return nil, a.core.Available()
	}
	dial, err := a.through(at.Hop)
	if err != nil {
		return nil, err
	}
	return dial(ctx, network, address)
}

func (a *asker) through(hop string) (utilnet.DialFunc, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if dial := a.dials[hop]; dial != nil {
		return dial, nil
	}
	selector, err := egressselector.NewEgressSelector(&egress.EgressSelectorConfiguration{
		EgressSelections: []egress.EgressSelection{{
			Name: egressselector.Cluster.String(),
			Connection: egress.Connection{
				ProxyProtocol: egress.ProtocolHTTPConnect,
				Transport: &egress.Transport{TCP: &egress.TCPTransport{
					URL: "https://" + hop,
					TLSConfig: &egress.TLSConfig{
						CABundle: a.pki.CA, ClientCert: a.pki.Self.Cert, ClientKey: a.pki.Self.Key,
						TLSServerName: identity.ServerName(tier.Core),
					},
				}},
			},
		}},
	})
	if err != nil {
		return nil, err
	}
	dial, err := selector.Lookup(egressselector.Cluster.AsNetworkContext())
	if err == nil {
		a.dials[hop] = dial
	}
	return dial, err
}
