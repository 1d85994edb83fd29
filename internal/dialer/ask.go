package dialer

import (
	egress "k8s.io/apiserver/pkg/apis/apiserver"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// Ask has a tier other than core ask core for connections to nodes, by CONNECT with
// the certificate by which it makes its own calls.
func (o *Options) Ask(w *wiring.Wiring, c *genericapiserver.Config) error {
	if !o.enabled() {
		return nil
	}
	selector, err := egressselector.NewEgressSelector(&egress.EgressSelectorConfiguration{
		EgressSelections: []egress.EgressSelection{{
			Name: egressselector.Cluster.String(),
			Connection: egress.Connection{
				ProxyProtocol: egress.ProtocolHTTPConnect,
				Transport: &egress.Transport{TCP: &egress.TCPTransport{
					URL: "https://" + w.Tiers[tier.Core].Hop,
					TLSConfig: &egress.TLSConfig{
						CABundle: w.PKI.CA, ClientCert: w.PKI.Self.Cert, ClientKey: w.PKI.Self.Key,
						TLSServerName: identity.ServerName(tier.Core),
					},
				}},
			},
		}},
	})
	if err != nil {
		return err
	}
	dial, err := selector.Lookup(egressselector.Cluster.AsNetworkContext())
	if err != nil {
		return err
	}
	return selectCluster(c, direct(dial))
}
