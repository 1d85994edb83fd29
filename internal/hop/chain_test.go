package hop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// authority is an internal CA.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "internal"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return &authority{t: t, cert: must(x509.ParseCertificate(der)), key: key}
}

func (a *authority) issue(change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(template)
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// client issues a peer's certificate.
func (a *authority) client(p identity.Peer) tls.Certificate {
	return a.issue(func(c *x509.Certificate) {
		c.URIs = []*url.URL{p.URI()}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
}

// serving issues a tier's serving certificate.
func (a *authority) serving(name tier.Name) tls.Certificate {
	return a.issue(func(c *x509.Certificate) {
		c.DNSNames = []string{identity.ServerName(name)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// files writes what a Server loads.
func (a *authority) files(dir string, serving tls.Certificate) (ca, cert, key string) {
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	der := must(x509.MarshalPKCS8PrivateKey(serving.PrivateKey))
	return write("ca.crt", "CERTIFICATE", a.cert.Raw),
		write("serving.crt", "CERTIFICATE", serving.Certificate[0]),
		write("serving.key", "PRIVATE KEY", der)
}

var head2core = identity.Peer{Name: tier.Aggregator, Role: identity.Delegation}

// delegate is a running Server.
type delegate struct {
	*Server
	ca      *authority
	dir     string
	address string
	socket  string
	served  chan error
}

// throughSockets has every test forwarder use the unix socket of its delegate.
const throughSockets = "TRIPTYCH_TEST_HOP_SOCKETS"

// socketOf is the socket that belongs to an address.
var socketOf sync.Map

func listenLocal(t testing.TB) (net.Listener, string) {
	dir := must(os.MkdirTemp("", "hop")) // t.TempDir's are too long
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	return must(net.Listen("unix", path)), path
}

func startDelegate(t testing.TB, ca *authority, h http.Handler) *delegate {
	t.Helper()
	return startDelegateThat(t, ca, h, func(*ServerConfig) {})
}

func startDelegateThat(t testing.TB, ca *authority, h http.Handler, change func(*ServerConfig)) *delegate {
	t.Helper()
	d := &delegate{ca: ca, dir: t.TempDir(), served: make(chan error, 1)}
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	d.address = l.Addr().String()
	caFile, cert, key := ca.files(d.dir, ca.serving(tier.Core))
	local, socket := listenLocal(t)
	d.socket = socket
	socketOf.Store(d.address, socket)
	config := ServerConfig{
		Listener: l, Local: local, CAFile: caFile, CertFile: cert, KeyFile: key, Handler: h,
		Admit: func(p identity.Peer) bool { return p == head2core },
	}
	change(&config)
	d.Server = must(NewServer(config))
	go func() { d.served <- d.Serve() }()
	t.Cleanup(func() {
		d.Close()
		if err := <-d.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return d
}

// clientTLS is what a tier calls its delegate with.
func (a *authority) clientTLS() *tls.Config {
	return &tls.Config{
		RootCAs:      a.pool(),
		Certificates: []tls.Certificate{a.client(head2core)},
		ServerName:   identity.ServerName(tier.Core),
		MinVersion:   tls.VersionTLS13,
	}
}

func newTestForwarder(t testing.TB, ca *authority, address string, change func(*ForwarderConfig)) *Forwarder {
	t.Helper()
	c := ForwarderConfig{Delegate: tier.Core, Address: address, TLS: ca.clientTLS(), Timeout: time.Minute}
	if socket, ok := socketOf.Load(address); ok && os.Getenv(throughSockets) != "" {
		c.Socket = socket.(string)
	}
	if change != nil {
		change(&c)
	}
	f := NewForwarder(c)
	t.Cleanup(f.Close)
	return f
}

// front is a server with a Forwarder behind it, as the head is.
type front struct {
	*httptest.Server
	forwarder *Forwarder
}

func startFront(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// startChain starts a delegate with the handler h and a front before it.
func startChain(t testing.TB, h http.HandlerFunc) *front {
	t.Helper()
	ca := newAuthority(t)
	d := startDelegate(t, ca, h)
	f := newTestForwarder(t, ca, d.address, nil)
	return &front{Server: startFront(t, f), forwarder: f}
}

// http1 returns a client that speaks HTTP/1.1 to the front.
func (f *front) http1() *http.Client { return clientOf(f.Server, false) }

// http2 returns a client that speaks HTTP/2 to the front.
func (f *front) http2() *http.Client { return clientOf(f.Server, true) }

func clientOf(s *httptest.Server, http2 bool) *http.Client {
	t := s.Client().Transport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.ForceAttemptHTTP2 = http2
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetHTTP2(http2)
	if !http2 {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// dial opens a raw HTTP/1.1 connection to the front.
func (f *front) dial(t testing.TB) *tls.Conn {
	t.Helper()
	c := must(tls.Dial("tcp", f.Listener.Addr().String(), &tls.Config{
		RootCAs: f.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com",
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		}
	}
}

// eachProtocol runs the test with an HTTP/1.1 and an HTTP/2 client.
func eachProtocol(t *testing.T, h http.HandlerFunc, test func(t *testing.T, f *front, c *http.Client)) {
	for _, proto := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", proto), func(t *testing.T) {
			f := startChain(t, h)
			c := clientOf(f.Server, proto == 2)
			defer c.CloseIdleConnections()
			test(t, f, c)
		})
	}
}

func readAll(t testing.TB, r io.ReadCloser) string {
	t.Helper()
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("cannot read the body: %v", err)
	}
	return string(b)
}
