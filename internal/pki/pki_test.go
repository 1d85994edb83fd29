package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var birth = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// fixture is a data directory at a time that tests can move.
type fixture struct {
	old string // what the test remembers
	*testing.T
	Options
	Paths
	now time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	h, err := datadir.Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	f := &fixture{T: t, Paths: Paths{h.Dir}, now: birth}
	f.Options = Options{
		Dir: h.Dir, EmbeddedEtcd: true,
		ServiceIPs: []net.IP{net.IPv4(10, 96, 0, 1)},
		Clock:      func() time.Time { return f.now },
	}
	return f
}

func (f *fixture) ensure() *Report {
	f.Helper()
	r, err := Ensure(f.Options)
	if err != nil {
		f.Fatal(err)
	}
	return r
}

// refused demands an error that contains all of want.
func (f *fixture) refused(want ...string) {
	f.Helper()
	_, err := Ensure(f.Options)
	if err == nil {
		f.Fatalf("not refused, want %q", want)
	}
	for _, w := range append(want, "cannot prepare the certificates: ") {
		if !strings.Contains(err.Error(), w) {
			f.Errorf("%q is not in %q", w, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		f.Errorf("more than one line: %q", err)
	}
}

func (f *fixture) cert(path string) *x509.Certificate {
	f.Helper()
	certs, err := readCerts(path)
	if err != nil {
		f.Fatal(err)
	}
	return certs[0]
}

func (f *fixture) pki(name string) string { return filepath.Join(f.Options.Dir.PKI(), name) }

func (f *fixture) bytes(path string) string {
	f.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	return string(b)
}

func (f *fixture) write(path, content string) {
	f.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) remove(names ...string) {
	f.Helper()
	for _, name := range names {
		if err := os.Remove(f.pki(name)); err != nil {
			f.Fatal(err)
		}
	}
}

func (f *fixture) copy(from *fixture, names ...string) {
	f.Helper()
	for _, name := range names {
		f.write(f.pki(name), from.bytes(from.pki(name)))
	}
}

func TestFirstStart(t *testing.T) {
	f := newFixture(t)
	r := f.ensure()
	for _, name := range []string{"ca", "front-proxy-ca", "etcd/ca", "internal/ca"} {
		c := f.cert(f.pki(name + ".crt"))
		if !c.IsCA || c.NotAfter.Sub(birth) != 3650*day || birth.Sub(c.NotBefore) != 5*time.Minute {
			t.Errorf("%s: CA %v from %s to %s", name, c.IsCA, c.NotBefore, c.NotAfter)
		}
	}
	for _, tc := range []struct {
		name, ca, cn string
		usage        x509.ExtKeyUsage
	}{
		{"apiserver", "ca", "kube-apiserver", x509.ExtKeyUsageServerAuth},
		{"apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client", x509.ExtKeyUsageClientAuth},
		{"front-proxy-client", "front-proxy-ca", "front-proxy-client", x509.ExtKeyUsageClientAuth},
		{"etcd/server", "etcd/ca", "etcd", x509.ExtKeyUsageServerAuth},
		{"apiserver-etcd-client", "etcd/ca", "kube-apiserver-etcd-client", x509.ExtKeyUsageClientAuth},
		{"etcd/core-client", "etcd/ca", "core", x509.ExtKeyUsageClientAuth},
		{"etcd/extensions-client", "etcd/ca", "extensions", x509.ExtKeyUsageClientAuth},
		{"etcd/aggregator-client", "etcd/ca", "aggregator", x509.ExtKeyUsageClientAuth},
		{"etcd/supervisor-client", "etcd/ca", "supervisor", x509.ExtKeyUsageClientAuth},
		{"internal/core-serving", "internal/ca", "core.tier.triptych.internal", x509.ExtKeyUsageServerAuth},
		{"internal/supervisor-delegation", "internal/ca", "supervisor/delegation", x509.ExtKeyUsageClientAuth},
	} {
		c := f.cert(f.pki(tc.name + ".crt"))
		roots := x509.NewCertPool()
		roots.AddCert(f.cert(f.pki(tc.ca + ".crt")))
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: birth, KeyUsages: []x509.ExtKeyUsage{tc.usage}}); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if c.Subject.CommonName != tc.cn || len(c.ExtKeyUsage) != 1 {
			t.Errorf("%s: subject %s, usages %v", tc.name, c.Subject, c.ExtKeyUsage)
		}
		want := 365 * day
		if strings.HasPrefix(tc.name, "internal/") || strings.HasPrefix(tc.name, "etcd/") {
			want = day
		}
		if c.NotAfter.Sub(birth) != want || birth.Sub(c.NotBefore) != 5*time.Minute {
			t.Errorf("%s: from %s to %s", tc.name, c.NotBefore, c.NotAfter)
		}
		if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s: not ECDSA P-256", tc.name)
		}
	}
	if !r.Expires.Equal(birth.Add(day)) || !r.Due.Equal(birth.Add(16*time.Hour)) {
		t.Errorf("report: expires %s, due %s", r.Expires, r.Due)
	}
	if len(r.Renewed) != 0 || len(r.Warnings) != 0 {
		t.Errorf("report: %q", r.Lines())
	}
	f.checkFiles(r)
}

// checkFiles demands that all there is was reported, and that keys are for the
// owner alone.
func (f *fixture) checkFiles(r *Report) {
	err := filepath.WalkDir(f.Options.Dir.PKI(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !slices.Contains(r.Created, path) {
			f.Errorf("%s was not reported", path)
		}
		info, err := d.Info()
		if filepath.Ext(path) == ".key" && info.Mode().Perm() != 0o600 {
			f.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

func TestNamesOfTheSecurePort(t *testing.T) {
	f := newFixture(t)
	f.Hosts = []string{"api.example.com", "*.example.org", "192.0.2.7", "2001:db8::7", "UPPER.example.com"}
	f.ensure()
	c := f.cert(f.APIServer().Cert)
	for _, name := range []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"localhost", "127.0.0.1", "::1", "10.96.0.1", "api.example.com", "a.example.org", "192.0.2.7", "2001:db8::7", "upper.example.com"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if host, err := os.Hostname(); err == nil && isDNSName(host) && c.VerifyHostname(host) != nil {
		t.Errorf("%s is missing", host)
	}
	f.Hosts = []string{"not a name"}
	f.refused(`"not a name"`, "give a DNS name or an IP address")
}

func TestInternalCertificatesSayWhoTheirHolderIs(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	for _, name := range holders() {
		w := f.Internal(name)
		want := map[string]identity.Role{w.Self.Cert: identity.Self}
		if name != tier.Extensions {
			want[w.Delegation.Cert] = identity.Delegation
		} else if w.Delegation.Cert != "" {
			t.Error("extensions may delegate")
		}
		for path, role := range want {
			p, err := identity.PeerOf(f.cert(path))
			if err != nil || p != (identity.Peer{Name: name, Role: role}) {
				t.Errorf("%s: %v %v", path, p, err)
			}
		}
		if name == identity.Supervisor {
			continue
		}
		if err := f.cert(w.Serving.Cert).VerifyHostname(identity.ServerName(name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(f.pki("internal/extensions-delegation.crt")); err == nil {
		t.Error("extensions may delegate")
	}
}

func TestASecondStartChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	before := f.snapshot()
	f.now = f.now.Add(16 * time.Hour)
	if r := f.ensure(); len(r.Lines()) != 0 {
		t.Errorf("report: %q", r.Lines())
	}
	if !mapsEqual(before, f.snapshot()) {
		t.Error("files changed")
	}
}

func (f *fixture) snapshot() map[string]string {
	m := map[string]string{}
	_ = filepath.WalkDir(f.Options.Dir.PKI(), func(path string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			m[path] = f.bytes(path)
		}
		return nil
	})
	return m
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestWithoutEmbeddedEtcdNothingOfItIsMade(t *testing.T) {
	f := newFixture(t)
	f.EmbeddedEtcd = false
	f.ensure()
	for _, name := range []string{"etcd/ca.crt", "etcd/server.crt", "apiserver-etcd-client.crt"} {
		if _, err := os.Stat(f.pki(name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

// Every prefix of the files of a first start is what some crash leaves.
func TestAStartThatWasCutShortIsContinued(t *testing.T) {
	f := newFixture(t)
	order := f.ensure().Created
	whole := f.snapshot()
	for n := range order {
		for i, path := range order {
			_ = os.Remove(path)
			if i < n {
				f.write(path, whole[path])
			}
		}
		r := f.ensure()
		if len(r.Created) != len(order)-n {
			t.Fatalf("after %d files: created %d of %d", n, len(r.Created), len(order)-n)
		}
	}
}
