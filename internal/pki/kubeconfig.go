package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"triptych.dev/triptych/internal/datadir"
)

// entry is the name of our cluster, user and context in the kubeconfig.
const entry = "triptych"

var adminSpec = client("admin", "kubernetes-admin", "system:masters")

// WriteAdminKubeconfig leaves an administrator's kubeconfig for server, a URL,
// in the data directory. It is written only if it does not fit any more, and
// entries that the user added stay. Call it after Ensure.
func WriteAdminKubeconfig(o Options, server string) error {
	if err := writeAdminKubeconfig(o, server); err != nil {
		return fmt.Errorf("cannot write %s: %w", o.Dir.Kubeconfig(), err)
	}
	return nil
}

func writeAdminKubeconfig(o Options, server string) error {
	e := &ensurer{Options: o, paths: Paths{o.Dir}, time: o.now(), report: &Report{}}
	files := e.paths.CA()
	haveKey, err := exists(files.Key)
	if err != nil {
		return err
	}
	ca, err := e.loadAuthority(files, haveKey)
	if err != nil {
		return err
	}
	cluster, err := e.cluster(ca, server)
	if err != nil {
		return err
	}
	config := load(o.Dir.Kubeconfig())
	user := config.AuthInfos[entry]
	fits := user != nil && e.adminFits(ca, user)
	if fits && sameCluster(config.Clusters[entry], cluster) {
		return nil
	}
	if !fits {
		if user, err = e.newAdmin(ca); err != nil {
			return err
		}
	}
	return save(o.Dir.Kubeconfig(), config, cluster, user)
}

// load returns what is there. What cannot be read is ours and written anew.
func load(path string) *api.Config {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return api.NewConfig()
	}
	return config
}

func save(path string, config *api.Config, cluster *api.Cluster, user *api.AuthInfo) error {
	config.Clusters[entry], config.AuthInfos[entry] = cluster, user
	if config.Contexts[entry] == nil {
		config.Contexts[entry] = &api.Context{Cluster: entry, AuthInfo: entry}
	}
	if config.CurrentContext == "" {
		config.CurrentContext = entry
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	return datadir.WriteFile(path, data, keyMode)
}

func sameCluster(have, want *api.Cluster) bool {
	return have != nil && have.Server == want.Server && have.TLSServerName == want.TLSServerName &&
		bytes.Equal(have.CertificateAuthorityData, want.CertificateAuthorityData)
}

// cluster says how to reach and trust the secure port. A certificate of the
// user's may come from a CA we do not have, for a name we do not dial: then it
// is trusted itself, under the name it has.
func (e *ensurer) cluster(ca *authority, server string) (*api.Cluster, error) {
	data, err := os.ReadFile(ca.files.Cert)
	if err != nil {
		return nil, unreadable(err)
	}
	cluster := &api.Cluster{Server: server, CertificateAuthorityData: data}
	if e.TLSCertFile == "" {
		return cluster, nil
	}
	chain, err := readCerts(e.TLSCertFile)
	if err != nil {
		return nil, err
	}
	if !ca.signed(chain) {
		if cluster.CertificateAuthorityData, err = certutil.EncodeCertificates(chain...); err != nil {
			return nil, err
		}
	}
	cluster.TLSServerName = nameFor(chain[0], server)
	return cluster, nil
}

// nameFor returns the name to expect in place of server's host, or "".
func nameFor(leaf *x509.Certificate, server string) string {
	u, err := url.Parse(server)
	if err != nil || leaf.VerifyHostname(u.Hostname()) == nil {
		return ""
	}
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	if len(leaf.IPAddresses) > 0 {
		return leaf.IPAddresses[0].String()
	}
	return ""
}

// adminFits tells whether the certificate in the kubeconfig still does. One of
// an external CA is the user's, who knows what it may.
func (e *ensurer) adminFits(ca *authority, user *api.AuthInfo) bool {
	if _, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData); err != nil {
		return false
	}
	chain, err := certutil.ParseCertsPEM(user.ClientCertificateData)
	return err == nil && !e.time.Before(chain[0].NotBefore) && e.unfit(ca, adminSpec, chain) == ""
}

func (e *ensurer) newAdmin(ca *authority) (*api.AuthInfo, error) {
	if ca.key == nil {
		return nil, fmt.Errorf("there is no %s to sign the administrator's certificate with: put that key there, "+
			"or write the kubeconfig yourself, its user %q with a certificate (%s)", ca.files.Key, entry, adminSpec)
	}
	return e.newUser(ca, adminSpec, leafLifetime)
}

// newUser makes a key and a certificate of a client.
func (e *ensurer) newUser(ca *authority, spec leafSpec, lifetime time.Duration) (*api.AuthInfo, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := ca.sign(spec, key.Public(), e.time.Add(-backdate), e.time.Add(lifetime))
	if err != nil {
		return nil, err
	}
	keyData, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	return &api.AuthInfo{ClientCertificateData: encode(cert), ClientKeyData: keyData}, nil
}
