package process

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// serverTLS is the configuration of the handshake listener: a peer shows a
// certificate of the internal CA or gets nowhere.
func serverTLS(pki wiring.PKI) (*tls.Config, error) {
	cfg, err := baseTLS(pki.CA, pki.Serving)
	if err != nil {
		return nil, err
	}
	cfg.ClientCAs, cfg.ClientAuth = cfg.RootCAs, tls.RequireAndVerifyClientCert
	return cfg, nil
}

// clientTLS is the configuration for calls to the named tier.
func clientTLS(ca string, pair wiring.KeyPair, to tier.Name) (*tls.Config, error) {
	cfg, err := baseTLS(ca, pair)
	if err != nil {
		return nil, err
	}
	cfg.ServerName = identity.ServerName(to)
	return cfg, nil
}

func baseTLS(ca string, pair wiring.KeyPair) (*tls.Config, error) {
	pem, err := readCA(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cannot read the internal CA: %s holds no certificate", ca)
	}
	cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot load the internal certificate %s: %w", pair.Cert, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{cert}}, nil
}

func readCA(path string) ([]byte, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the internal CA: %w", err)
	}
	return pem, nil
}

// ClientConfig is for calls that this process makes as itself to the named
// tier, or to itself, which is what an API server calls its loopback client. Each
// connection to another tier is made to the replica that is of most use then. The
// CA is in it as data: clients of webhooks add the bundles of webhooks to the data,
// and data hides a file.
func (p *Process) ClientConfig(to tier.Name) (*rest.Config, error) {
	c := &rest.Config{
		Host: "https://" + p.Wiring.Own().Hop,
		TLSClientConfig: rest.TLSClientConfig{
			CAData:     slices.Clip(p.ca), // clients of webhooks append to it
			CertFile:   p.Wiring.PKI.Self.Cert,
			KeyFile:    p.Wiring.PKI.Self.Key,
			ServerName: identity.ServerName(to),
		},
		UserAgent:     userAgent(),
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"},
		// The tiers are one control plane: none throttles another, and on
		// loopback compressing costs more than it saves.
		QPS:                -1,
		DisableCompression: true,
	}
	if to == p.Wiring.Tier {
		return c, nil
	}
	replicas, err := p.Watch(to)
	if err != nil {
		return nil, err
	}
	// The name is for the eye: Dial knows better.
	c.Host, c.Dial = "https://"+p.Wiring.Tiers[to][0].Hop, dialer(replicas)
	return c, nil
}

// userAgent is kube-apiserver's, whatever this binary is called: field managers
// are named after it, and audit logs show it.
func userAgent() string {
	_, version, _ := strings.Cut(rest.DefaultKubernetesUserAgent(), "/")
	return "kube-apiserver/" + version
}

// DelegationTLS is the configuration for calls to the named tier that speak for
// others.
func (p *Process) DelegationTLS(to tier.Name) (*tls.Config, error) {
	return clientTLS(p.Wiring.PKI.CA, p.Wiring.PKI.Delegation, to)
}
