package spine

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

var serverAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}

// servedCertificate returns what the secure port shows.
func servedCertificate(t *testing.T, c *harness.Cluster) *x509.Certificate {
	t.Helper()
	conn := harness.Must(tls.Dial("tcp", strings.TrimPrefix(c.URL(t), "https://"), c.TLS(t)))(t)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func TestCertificatesAreECDSA(t *testing.T) {
	c := harness.Shared(t)
	var checked int
	for _, pattern := range []string{"*.crt", "*/*.crt"} {
		files, _ := filepath.Glob(c.Path("pki", pattern))
		for _, file := range files {
			pair := harness.Must(harness.LoadPair(file, strings.TrimSuffix(file, ".crt")+".key"))(t)
			key, ok := pair.Cert.PublicKey.(*ecdsa.PublicKey)
			if checked++; !ok || key.Curve.Params().Name != "P-256" {
				t.Errorf("%s is %v", file, pair.Cert.PublicKeyAlgorithm)
			}
		}
	}
	if checked < 15 {
		t.Errorf("found only %d certificates", checked)
	}
}

// A certificate of a year with less than 30 days left is renewed when the supervisor
// starts, one with more is kept, and the CA stays what it was.
func TestCertificatesAreRenewedAtStart(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := harness.TempDir(t)
	c := harness.Run(t, harness.Options{Dir: dir})
	c.Stop(t)
	expiring := map[string]*harness.Pair{}
	for base, caBase := range map[string]string{
		"pki/apiserver":             "pki/ca",
		"pki/front-proxy-client":    "pki/front-proxy-ca",
		"pki/internal/core-serving": "pki/internal/ca",
		"pki/etcd/server":           "pki/etcd/ca",
	} {
		old := harness.Must(harness.LoadPair(c.Path(base+".crt"), c.Path(base+".key")))(t)
		ca := harness.Must(harness.LoadPair(c.Path(caBase+".crt"), c.Path(caBase+".key")))(t)
		leaf := harness.Leaf{CommonName: old.Cert.Subject.CommonName, Organization: old.Cert.Subject.Organization,
			Hosts: old.Cert.DNSNames, Usage: old.Cert.ExtKeyUsage, NotAfter: time.Now().Add(29 * 24 * time.Hour)}
		for _, ip := range old.Cert.IPAddresses {
			leaf.Hosts = append(leaf.Hosts, ip.String())
		}
		for _, uri := range old.Cert.URIs {
			leaf.URIs = append(leaf.URIs, uri.String())
		}
		expiring[base] = harness.Must(ca.Issue(leaf))(t)
		if err := expiring[base].Write(c.Path(base)); err != nil {
			t.Fatal(err)
		}
	}
	kept := harness.Must(os.ReadFile(c.Path("pki", "apiserver-kubelet-client.crt")))(t)
	ca := harness.Must(os.ReadFile(c.Path("pki", "ca.crt")))(t)

	again := harness.Run(t, harness.Options{Dir: dir})
	for base, old := range expiring {
		now := harness.Must(harness.LoadPair(again.Path(base+".crt"), again.Path(base+".key")))(t)
		least := 300 * 24 * time.Hour
		if strings.HasPrefix(base, "pki/internal/") || strings.HasPrefix(base, "pki/etcd/") {
			least = 20 * time.Hour // and no more than a day: see TestStolenCertificatesAreShutOutAndExpiredOnesReplaced
		}
		if now.Cert.Equal(old.Cert) || time.Until(now.Cert.NotAfter) < least {
			t.Errorf("%s ends on %v", base, now.Cert.NotAfter)
		}
		if info := harness.Must(os.Stat(again.Path(base + ".key")))(t); info.Mode().Perm() != 0o600 {
			t.Errorf("%s.key has mode %o", base, info.Mode().Perm())
		}
	}
	if served := servedCertificate(t, again); time.Until(served.NotAfter) < 300*24*time.Hour {
		t.Errorf("the secure port shows a certificate that ends on %v", served.NotAfter)
	}
	if string(harness.Must(os.ReadFile(again.Path("pki", "apiserver-kubelet-client.crt")))(t)) != string(kept) ||
		string(harness.Must(os.ReadFile(again.Path("pki", "ca.crt")))(t)) != string(ca) {
		t.Error("a certificate that had time left has been renewed")
	}
}

// A CA and a service-account key that lie in the data directory are used, not
// replaced.
func TestOwnCAAndServiceAccountKeyAreUsed(t *testing.T) {
	dir := harness.TempDir(t)
	ca := harness.Must(harness.NewCA("my-own-ca"))(t)
	if err := ca.Write(filepath.Join(dir, "pki", "ca")); err != nil {
		t.Fatal(err)
	}
	sa := harness.Must(harness.NewCA("sa"))(t)
	harness.WriteFile(t, filepath.Join(dir, "pki", "sa.key"), sa.KeyPEM(), 0o600)

	c := harness.Run(t, harness.Options{Dir: dir})
	if issuer := servedCertificate(t, c).Issuer.CommonName; issuer != "my-own-ca" {
		t.Errorf("the secure port's certificate is signed by %q", issuer)
	}
	alice := harness.Must(ca.Issue(harness.Leaf{CommonName: "alice", Usage: clientAuth}))(t)
	if user := harness.Must(whoami(t, c.ConfigFor(t, alice)))(t); user.Username != "alice" {
		t.Errorf("a certificate of the own CA makes %+v", user)
	}
	if now := harness.Must(os.ReadFile(c.Path("pki", "sa.key")))(t); string(now) != string(sa.KeyPEM()) {
		t.Error("sa.key has been replaced")
	}
	tokenWorks(t, c)
}

// tokenWorks asks for a service-account token and uses it.
func tokenWorks(t *testing.T, c *harness.Cluster) {
	t.Helper()
	c.Kubectl(t, "create", "serviceaccount", "keyed")
	request := harness.Must(c.Clientset(t).CoreV1().ServiceAccounts("default").
		CreateToken(t.Context(), "keyed", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t)
	config := c.Anonymous(t)
	config.BearerToken = request.Status.Token
	if user := harness.Must(whoami(t, config))(t); user.Username != "system:serviceaccount:default:keyed" {
		t.Errorf("the token makes %+v", user)
	}
}

// The flags of kube-apiserver bring files from anywhere.
func TestOwnServingCertificateAndKeysByFlags(t *testing.T) {
	files := harness.TempDir(t)
	ca := harness.Must(harness.NewCA("corporate-ca"))(t)
	serving := harness.Must(ca.Issue(harness.Leaf{CommonName: "api.example.com", Hosts: []string{"api.example.com", "127.0.0.1"}, Usage: serverAuth}))(t)
	clients := harness.Must(harness.NewCA("clients-ca"))(t)
	sa := harness.Must(harness.NewCA("sa"))(t)
	for name, pair := range map[string]*harness.Pair{"serving": serving, "clients": clients, "sa": sa} {
		if err := pair.Write(filepath.Join(files, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := harness.Run(t, harness.Options{Args: []string{
		"--tls-cert-file=" + files + "/serving.crt", "--tls-private-key-file=" + files + "/serving.key",
		"--client-ca-file=" + files + "/clients.crt",
		"--service-account-key-file=" + files + "/sa.crt", "--service-account-signing-key-file=" + files + "/sa.key",
	}})
	host := strings.TrimPrefix(harness.Must(c.AwaitStatus(soon, "Ready", harness.IsReady))(t).SecureURL, "https://")
	_, port := harness.Must2(net.SplitHostPort(host))(t)
	conn := harness.Must(tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: ca.Pool(), ServerName: "api.example.com"}))(t)
	conn.Close()

	config := c.Anonymous(t)
	config.Host, config.TLSClientConfig.CAData, config.TLSClientConfig.CAFile = "https://127.0.0.1:"+port, ca.CertPEM(), ""
	alice := harness.Must(clients.Issue(harness.Leaf{CommonName: "alice", Usage: clientAuth}))(t)
	config.CertData, config.KeyData = alice.CertPEM(), alice.KeyPEM()
	if user := harness.Must(whoami(t, config))(t); user.Username != "alice" {
		t.Errorf("a certificate of the own client CA makes %+v", user)
	}
}
