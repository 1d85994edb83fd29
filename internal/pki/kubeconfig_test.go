package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

func (f *fixture) admin(server string) {
	f.Helper()
	if err := WriteAdminKubeconfig(f.Options, server); err != nil {
		f.Fatal(err)
	}
}

// serve is a secure port that asks for certificates of the client CA, and
// answers with the caller's subject.
func (f *fixture) serve(pair, ca string) *httptest.Server {
	f.Helper()
	cert, err := tls.LoadX509KeyPair(pair+".crt", pair+".key")
	if err != nil {
		f.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(f.cert(ca))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.TLS.PeerCertificates[0].Subject.String()))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	f.Cleanup(s.Close)
	return s
}

func (f *fixture) whoAmI() string {
	f.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", f.Options.Dir.Kubeconfig())
	if err != nil {
		f.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		f.Fatal(err)
	}
	defer client.CloseIdleConnections()
	response, err := client.Get(config.Host)
	if err != nil {
		f.Fatal(err)
	}
	defer response.Body.Close()
	b := make([]byte, 256)
	n, _ := response.Body.Read(b)
	return string(b[:n])
}

const wantAdmin = "CN=kubernetes-admin,O=system:masters"

func TestTheAdminKubeconfigWorks(t *testing.T) {
	f := newFixture(t)
	f.now = time.Now()
	f.ensure()
	s := f.serve(f.pki("apiserver"), f.CA().Cert)
	f.admin(s.URL)
	if who := f.whoAmI(); who != wantAdmin {
		t.Errorf("the server sees %q", who)
	}
	if info, _ := os.Stat(f.Options.Dir.Kubeconfig()); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %s", info.Mode())
	}
}

// The user's certificate is of a CA that we do not have, for a name that is not
// the one in the URL.
func TestTheAdminKubeconfigWorksWithTheUsersServingCertificate(t *testing.T) {
	user, f := newFixture(t), newFixture(t)
	user.now, f.now = time.Now(), time.Now()
	user.ensure()
	f.TLSCertFile, f.TLSKeyFile = user.pki("internal/core-serving.crt"), user.pki("internal/core-serving.key")
	f.ensure()
	s := f.serve(user.pki("internal/core-serving"), f.CA().Cert)
	f.admin(s.URL)
	if who := f.whoAmI(); who != wantAdmin {
		t.Errorf("the server sees %q", who)
	}
}

func TestTheAdminKubeconfigIsWrittenOnlyWhenNeeded(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	f.ensure()
	other.ensure()
	f.admin("https://127.0.0.1:6443")
	path := f.Options.Dir.Kubeconfig()
	last := f.bytes(path)
	for _, tc := range []struct {
		name    string
		change  func()
		rewrite bool
	}{
		{"nothing", func() {}, false},
		{"another server", func() {}, true}, // see below
		{"time", func() { f.now = birth.Add(100 * day) }, false},
		{"nearly expired", func() { f.now = birth.Add(leafLifetime - day) }, true},
		{"another CA", func() { f.copy(other, "ca.crt", "ca.key") }, true},
		{"garbage", func() { f.write(path, "garbage: [") }, true},
		{"removed", func() { _ = os.Remove(path) }, true},
	} {
		tc.change()
		server := "https://127.0.0.1:6444"
		if tc.name == "nothing" {
			server = "https://127.0.0.1:6443"
		}
		f.admin(server)
		now := f.bytes(path)
		if (now != last) != tc.rewrite {
			t.Errorf("%s: written %v, want %v", tc.name, now != last, tc.rewrite)
		}
		if !strings.Contains(now, server) {
			t.Errorf("%s: not for %s", tc.name, server)
		}
		last = now
	}
}

func TestEntriesOfTheUserStay(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.admin("https://127.0.0.1:1")
	path := f.Options.Dir.Kubeconfig()
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts["mine"] = &api.Context{Cluster: entry, AuthInfo: entry, Namespace: "mine"}
	config.CurrentContext = "mine"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	f.admin("https://127.0.0.1:2")
	config, err = clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if config.CurrentContext != "mine" || config.Contexts["mine"] == nil || config.Clusters[entry].Server != "https://127.0.0.1:2" {
		t.Errorf("%+v", config)
	}
}

func TestWithAnExternalCATheKubeconfigIsTheUsers(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.admin("https://127.0.0.1:1")
	f.remove("ca.key")
	f.admin("https://127.0.0.1:1")
	if err := os.Remove(f.Options.Dir.Kubeconfig()); err != nil {
		t.Fatal(err)
	}
	err := WriteAdminKubeconfig(f.Options, "https://127.0.0.1:1")
	if err == nil || !strings.Contains(err.Error(), "ca.key to sign the administrator's certificate with") {
		t.Errorf("error %v", err)
	}
}

func TestClientTLS(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	pair := f.EtcdClient("core")
	c, err := ClientTLS(f.EtcdCA().Cert, pair.Cert, pair.Key, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	if c.MinVersion != tls.VersionTLS13 || c.ServerName != "localhost" || len(c.Certificates) != 1 ||
		!slices.ContainsFunc(c.RootCAs.Subjects(), func(s []byte) bool { return strings.Contains(string(s), "etcd-ca") }) { //nolint:staticcheck // our own pool
		t.Errorf("%+v", c)
	}
	for _, args := range [][3]string{
		{pair.Key, pair.Cert, pair.Key}, {f.EtcdCA().Cert, pair.Cert, f.EtcdServer().Key}, {"/gone", pair.Cert, pair.Key},
	} {
		if _, err := ClientTLS(args[0], args[1], args[2], ""); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
