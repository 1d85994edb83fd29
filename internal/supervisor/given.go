package supervisor

import (
	"fmt"

	cliflag "k8s.io/component-base/cli/flag"

	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/supervisor/options"
)

// pkiOptions is what certificates are wanted, and which the user brings.
func (s *setup) pkiOptions() (pki.Options, error) {
	f := s.options.Forwarded
	hosts := []string{s.advertise.String()}
	if !s.options.BindAddress.IsUnspecified() {
		hosts = append(hosts, s.options.BindAddress.String())
	}
	if external := f.Last("external-hostname"); external != "" {
		hosts = append(hosts, external)
	}
	pairs, err := givenPairs(s.options)
	return pki.Options{
		Dir:                          s.dir,
		Hosts:                        hosts,
		ServiceIPs:                   serviceIPs(s.options),
		ClientCAFile:                 f.Last("client-ca-file"),
		TLSCertFile:                  f.Last("tls-cert-file"),
		TLSKeyFile:                   f.Last("tls-private-key-file"),
		ServiceAccountKeyFiles:       f.Values("service-account-key-file"),
		ServiceAccountSigningKeyFile: f.Last("service-account-signing-key-file"),
		Pairs:                        pairs,
		CAs:                          givenCAs(s.options),
		EmbeddedEtcd:                 s.embedded(),
		Validity:                     s.options.CertValidity,
		Elsewhere:                    s.sharesCA(),
	}, err
}

func givenPairs(o *options.Options) ([]pki.GivenPair, error) {
	pairs := []pki.GivenPair{
		{CertFlag: "etcd-certfile", Cert: o.EtcdCertFile, KeyFlag: "etcd-keyfile", Key: o.EtcdKeyFile},
		{CertFlag: "extensions-etcd-certfile", Cert: o.ExtensionsEtcd.CertFile, KeyFlag: "extensions-etcd-keyfile", Key: o.ExtensionsEtcd.KeyFile},
	}
	for _, flags := range [][2]string{
		{"proxy-client-cert-file", "proxy-client-key-file"},
		{"kubelet-client-certificate", "kubelet-client-key"},
	} {
		pairs = append(pairs, pki.GivenPair{
			CertFlag: flags[0], Cert: o.Forwarded.Last(flags[0]), KeyFlag: flags[1], Key: o.Forwarded.Last(flags[1]),
		})
	}
	const sni = "tls-sni-cert-key"
	for _, value := range o.Forwarded.Values(sni) {
		var given cliflag.NamedCertKey
		if err := given.Set(value); err != nil {
			return nil, fmt.Errorf("--%s=%s is no pair: %w: want CERT,KEY or CERT,KEY:NAME,NAME", sni, value, err)
		}
		pairs = append(pairs, pki.GivenPair{CertFlag: sni, Cert: given.CertFile, KeyFlag: sni, Key: given.KeyFile})
	}
	return pairs, nil
}

func givenCAs(o *options.Options) []pki.GivenCAs {
	last := o.Forwarded.Last
	return []pki.GivenCAs{
		{Flag: "requestheader-client-ca-file", File: last("requestheader-client-ca-file"), ForClients: true},
		{Flag: "kubelet-certificate-authority", File: last("kubelet-certificate-authority")},
		{Flag: "etcd-cafile", File: o.EtcdCAFile},
		{Flag: "extensions-etcd-cafile", File: o.ExtensionsEtcd.CAFile},
	}
}
