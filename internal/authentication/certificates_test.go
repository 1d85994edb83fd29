package authentication

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
)

// issuer is a CA, or one below another.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue signs a CA if isCA, else a client's certificate; a nil issuer signs itself.
func (i *issuer) issue(t testing.TB, name string, isCA bool, until time.Time) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"crew"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, BasicConstraintsValid: true, IsCA: isCA,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if i != nil {
		parent, signer = i.cert, i.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

// bundle is a CA bundle that can be replaced.
type bundle struct{ roots *x509.CertPool }

func (b *bundle) trust(cas ...*issuer) {
	b.roots = x509.NewCertPool()
	for _, ca := range cas {
		b.roots.AddCert(ca.cert)
	}
}

func (b *bundle) options() (x509.VerifyOptions, bool) {
	o := x509request.DefaultVerifyOptions()
	o.Roots = b.roots
	return o, true
}

func connection(chain ...*issuer) *tls.ConnectionState {
	s := &tls.ConnectionState{}
	for _, i := range chain {
		s.PeerCertificates = append(s.PeerCertificates, i.cert)
	}
	return s
}

// onConnection is a request on it.
func onConnection(s *tls.ConnectionState) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = s
	return r
}

func wantUser(t *testing.T, what string, authn authenticator.RequestFunc, s *tls.ConnectionState, want string) {
	t.Helper()
	response, ok, err := authn(onConnection(s))
	got := ""
	if ok && err == nil {
		got = response.User.GetName()
	}
	if got != want {
		t.Errorf("%s: user %q, %v, want %q", what, got, err, want)
	}
}

func TestACertificateIsVerifiedOnceAConnection(t *testing.T) {
	var b bundle
	later := time.Now().Add(time.Hour)
	ca := (*issuer)(nil).issue(t, "ca", true, later)
	b.trust(ca)
	c := newCertificates(b.options)
	ann := connection(ca.issue(t, "ann", false, later))
	wantUser(t, "known before it was verified", c.known, ann, "")
	wantUser(t, "verified", c.AuthenticateRequest, ann, "ann")
	wantUser(t, "known", c.known, ann, "ann")
	// The same certificate on another connection was not verified there.
	other := &tls.ConnectionState{PeerCertificates: ann.PeerCertificates}
	wantUser(t, "known on another connection", c.known, other, "")
	// What upstream says of the user is said again, word by word.
	whole, _, _ := x509request.NewDynamic(b.options, x509request.CommonNameUserConversion).AuthenticateRequest(onConnection(ann))
	kept, _, _ := c.known(onConnection(ann))
	if w, k := whole.User, kept.User; w.GetUID() != k.GetUID() || len(k.GetGroups()) != 1 || k.GetGroups()[0] != "crew" ||
		len(w.GetExtra()) != len(k.GetExtra()) || w.GetExtra()["authentication.kubernetes.io/credential-id"][0] != k.GetExtra()["authentication.kubernetes.io/credential-id"][0] {
		t.Errorf("%+v, upstream says %+v", k, w)
	}
}

func TestAnotherBundleIsANewQuestion(t *testing.T) {
	var b bundle
	later := time.Now().Add(time.Hour)
	ca, other := (*issuer)(nil).issue(t, "ca", true, later), (*issuer)(nil).issue(t, "other", true, later)
	b.trust(ca)
	c := newCertificates(b.options)
	ann := connection(ca.issue(t, "ann", false, later))
	wantUser(t, "verified", c.AuthenticateRequest, ann, "ann")
	b.trust(other)
	wantUser(t, "known under a bundle that does not vouch for it", c.known, ann, "")
	wantUser(t, "verified under it", c.AuthenticateRequest, ann, "")
	b.trust(ca, other)
	wantUser(t, "known without a look at the next bundle", c.known, ann, "")
	wantUser(t, "verified under the next bundle", c.AuthenticateRequest, ann, "ann")
}

func TestAVerdictEndsWithTheFirstCertificateOfItsChain(t *testing.T) {
	var b bundle
	now := time.Now()
	ca := (*issuer)(nil).issue(t, "ca", true, now.Add(3*time.Hour))
	between := ca.issue(t, "between", true, now.Add(time.Hour))
	b.trust(ca)
	c := newCertificates(b.options)
	ann := connection(between.issue(t, "ann", false, now.Add(2*time.Hour)), between)
	wantUser(t, "verified", c.AuthenticateRequest, ann, "ann")
	kept, _ := c.verified.Get(ann)
	if until := kept.(*verdictOfChain).until; !until.Equal(between.cert.NotAfter) {
		t.Errorf("good until %s, the one between ends at %s", until, between.cert.NotAfter)
	}
	kept.(*verdictOfChain).until = now
	wantUser(t, "known after its end", c.known, ann, "")
	if _, still := c.verified.Get(ann); still {
		t.Error("it is kept still")
	}
}

func TestABadCertificateIsNeverKnown(t *testing.T) {
	var b bundle
	later := time.Now().Add(time.Hour)
	ca, stranger := (*issuer)(nil).issue(t, "ca", true, later), (*issuer)(nil).issue(t, "ca", true, later)
	b.trust(ca)
	c := newCertificates(b.options)
	for name, leaf := range map[string]*issuer{
		"of a stranger": stranger.issue(t, "ann", false, later), "expired": ca.issue(t, "ann", false, time.Now().Add(-time.Minute)),
	} {
		conn := connection(leaf)
		wantUser(t, name, c.AuthenticateRequest, conn, "")
		wantUser(t, name+", known", c.known, conn, "")
	}
	if c.verified.Len() != 0 {
		t.Error("it is kept that they are good")
	}
}

func TestWhatAFrontProxySaysIsNotTakenForItself(t *testing.T) {
	asked := 0
	authn := unlessProxied(func() []string { return []string{"X-Remote-User"} }, func(*http.Request) (*authenticator.Response, bool, error) {
		asked++
		return nil, true, nil
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if _, ok, _ := authn(r); !ok || asked != 1 {
		t.Error("not asked")
	}
	r.Header.Set("x-remote-user", "ann")
	if _, ok, _ := authn(r); ok || asked != 1 {
		t.Error("a request of a front proxy is its own")
	}
}

func BenchmarkCertificate(b *testing.B) {
	var trusted bundle
	later := time.Now().Add(time.Hour)
	ca := (*issuer)(nil).issue(b, "ca", true, later)
	trusted.trust(ca)
	r := onConnection(connection(ca.issue(b, "ann", false, later)))
	c := newCertificates(trusted.options)
	for name, authn := range map[string]authenticator.RequestFunc{
		"upstream": x509request.NewDynamic(trusted.options, x509request.CommonNameUserConversion).AuthenticateRequest, "known": c.known,
	} {
		if _, ok, err := c.AuthenticateRequest(r); !ok {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, ok, err := authn(r); !ok {
					b.Fatal(err)
				}
			}
		})
	}
}
