package hop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// direct returns a client of the server itself, as an informer is.
func (d *delegate) direct(t testing.TB, cert *tls.Certificate, http2 bool) *http.Client {
	config := d.ca.clientTLS()
	config.Certificates = nil
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	tr := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetHTTP2(http2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestPeerIsKnownToTheHandler(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, ok := PeerFrom(r.Context()); !ok || p != head2core {
			t.Errorf("the peer is %v, %v", p, ok)
		}
		io.WriteString(w, r.Proto)
	}))
	cert := ca.client(head2core)
	for _, http2 := range []bool{false, true} {
		c := d.direct(t, &cert, http2)
		for range 2 {
			resp, err := c.Get("https://" + d.address)
			if err != nil {
				t.Fatal(err)
			}
			if proto := readAll(t, resp.Body); (proto == "HTTP/2.0") != http2 {
				t.Errorf("spoke %s", proto)
			}
		}
	}
	if _, ok := PeerFrom(t.Context()); ok {
		t.Error("a peer out of nowhere")
	}
}

func TestWrongPeersNeverReachTheHandler(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("a request got through") }))
	for name, cert := range map[string]tls.Certificate{
		"foreign CA": other.client(head2core),
		"wrong role": ca.client(identity.Peer{Name: tier.Aggregator, Role: identity.Self}),
		"wrong tier": ca.client(identity.Peer{Name: tier.Extensions, Role: identity.Delegation}),
		"no peer at all": ca.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}),
		"two peers": ca.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			c.URIs = []*url.URL{head2core.URI(), head2core.URI()}
		}),
		"serving certificate": ca.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			c.URIs = []*url.URL{head2core.URI()}
		}),
		"expired": ca.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			c.URIs = []*url.URL{head2core.URI()}
			c.NotAfter = time.Now().Add(-time.Minute)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, http2 := range []bool{false, true} {
				if resp, err := d.direct(t, &cert, http2).Get("https://" + d.address); err == nil {
					t.Errorf("got %s", resp.Status)
				}
			}
			// The forwarder knows that nothing was sent.
			f := newTestForwarder(t, ca, d.address, func(c *ForwarderConfig) { c.TLS.Certificates = []tls.Certificate{cert} })
			s := startFront(t, f)
			resp, err := clientOf(s, false).Post(s.URL, "", strings.NewReader("x"))
			wantUnavailable(t, resp, err)
		})
	}
	if resp, err := d.direct(t, nil, false).Get("https://" + d.address); err == nil {
		t.Errorf("without a certificate: %s", resp.Status)
	}
	if resp, err := http.Get("http://" + d.address); err == nil {
		if resp.StatusCode != 400 {
			t.Errorf("without TLS: %s", resp.Status)
		}
		resp.Body.Close()
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.NotFoundHandler())
	config := ca.clientTLS()
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := tls.Dial("tcp", d.address, config); err == nil {
		c.Close()
		t.Error("TLS 1.2 was accepted")
	}
}

// A process that squats on the delegate's port is found out.
func TestForwarderChecksTheServer(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request got through") }))
	for name, change := range map[string]func(*ForwarderConfig){
		"other tier": func(c *ForwarderConfig) { c.TLS.ServerName, c.Delegate = "", tier.Extensions },
		"other CA":   func(c *ForwarderConfig) { c.TLS.RootCAs = newAuthority(t).pool() },
	} {
		t.Run(name, func(t *testing.T) {
			s := startFront(t, newTestForwarder(t, ca, d.address, change))
			resp, err := clientOf(s, false).Post(s.URL, "", nil)
			if err != nil || resp.StatusCode != 503 {
				t.Errorf("%v %v", resp, err)
			}
			resp.Body.Close()
		})
	}
}

// watchOn opens a request that lasts, and returns what ends when it is cut.
func watchOn(t *testing.T, d *delegate, http2 bool, cert tls.Certificate) <-chan struct{} {
	t.Helper()
	resp, err := d.direct(t, &cert, http2).Get("https://" + d.address)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		close(ended)
	}()
	return ended
}

func watching(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func TestReloadDropsPeersOfARemovedCA(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		ca := newAuthority(t)
		d := startDelegate(t, ca, http.HandlerFunc(watching))
		ended := watchOn(t, d, http2, ca.client(head2core))
		if err := d.Reload(0); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
			t.Fatal("a peer that is still good was dropped")
		default:
		}
		next := newAuthority(t)
		next.files(d.dir, next.serving(tier.Core))
		if err := d.Reload(0); err != nil {
			t.Fatal(err)
		}
		<-ended
		d.ca = next
		select {
		case <-watchOn(t, d, http2, next.client(head2core)):
			t.Error("the new CA's peer was dropped")
		default:
		}
	}
}

// With patience a watch of a peer that is not trusted any more ends as by its timeout, and what has been asked is answered.
func TestReloadWithPatienceEndsWatchesAndAnswersTheRest(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		ca := newAuthority(t)
		answer := make(chan struct{})
		d := startDelegateThat(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			if r.URL.Path == "/watch" {
				<-r.Context().Done()
			} else {
				<-answer
				io.WriteString(w, "answer")
			}
		}), func(c *ServerConfig) { c.Watches = func(r *http.Request) bool { return r.URL.Path == "/watch" } })
		cert := ca.client(head2core)
		get := func(path string) *http.Response {
			t.Helper()
			resp, err := d.direct(t, &cert, http2).Get("https://" + d.address + path)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		watch, slow := get("/watch"), get("/slow")
		next := newAuthority(t)
		next.files(d.dir, next.serving(tier.Core))
		if err := d.Reload(time.Minute); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(watch.Body); err != nil || len(got) > 0 {
			t.Errorf("HTTP/2 %v: the watch ended with %q, %v", http2, got, err)
		}
		close(answer)
		if got, err := io.ReadAll(slow.Body); err != nil || string(got) != "answer" {
			t.Errorf("HTTP/2 %v: the answer is %q, %v", http2, got, err)
		}
		watch.Body.Close()
		slow.Body.Close()
	}
}

// A connection is left before the certificate ends that it was made with: a watch ends well, and in time.
func TestAWatchEndsBeforeTheCertificateOfItsConnection(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegateThat(t, ca, http.HandlerFunc(watching), func(c *ServerConfig) { c.Watches = func(*http.Request) bool { return true } })
	for _, http2 := range []bool{false, true} {
		end := time.Now().Add(5 * time.Second)
		cert := ca.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			c.URIs = []*url.URL{head2core.URI()}
			c.NotBefore, c.NotAfter = end.Add(-20*time.Second), end
		})
		resp, err := d.direct(t, &cert, http2).Get("https://" + d.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || time.Now().After(end) {
			t.Errorf("HTTP/2 %v: %v, %s before the end", http2, err, time.Until(end))
		}
		resp.Body.Close()
	}
}

func TestReloadKeepsWhatItHasWhenTheFilesAreBad(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(watching))
	ended := watchOn(t, d, false, ca.client(head2core))
	os.WriteFile(filepath.Join(d.dir, "ca.crt"), []byte("nonsense"), 0o600)
	if err := d.Reload(0); err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("got %v", err)
	}
	select {
	case <-ended:
		t.Error("the connection was dropped")
	case <-watchOn(t, d, false, ca.client(head2core)):
		t.Error("the new connection was dropped")
	default:
	}
}

func TestConnectionEndsWithItsCertificate(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(watching))
	soon := ca.issue(func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		c.URIs = []*url.URL{head2core.URI()}
		c.NotAfter = time.Now().Add(2 * time.Second)
	})
	for _, http2 := range []bool{false, true} {
		<-watchOn(t, d, http2, soon)
		soon = ca.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			c.URIs = []*url.URL{head2core.URI()}
			c.NotAfter = time.Now().Add(2 * time.Second)
		})
	}
}

// A thousand watches of an informer share one connection.
func TestManyStreamsOnOneConnection(t *testing.T) {
	const many = 300
	var all sync.WaitGroup
	all.Add(many)
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.Done()
		all.Wait() // deadlocks if they queue
		io.WriteString(w, r.RemoteAddr)
	}))
	cert := ca.client(head2core)
	c := d.direct(t, &cert, true)
	var clients sync.WaitGroup
	for range many {
		clients.Go(func() {
			resp, err := c.Get("https://" + d.address)
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		})
	}
	clients.Wait()
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	release, started := make(chan struct{}), make(chan struct{})
	f, d := startChainAnd(t, func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-release
		io.WriteString(w, "whole")
	})
	got := make(chan string, 1)
	go func() {
		resp, err := f.http1().Post(f.URL, "", nil)
		if err != nil {
			got <- err.Error()
			return
		}
		got <- readAll(t, resp.Body)
	}()
	<-started
	stopped := make(chan error, 1)
	go func() { stopped <- d.Shutdown(t.Context()) }()
	eventually(t, "accepting stops", func() bool {
		c, err := net.Dial("tcp", d.address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(release)
	if g := <-got; g != "whole" {
		t.Errorf("got %q", g)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	f, d := startChainAnd(t, watching)
	resp, err := f.http1().Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := d.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	d.Close()
	wantBroken(t, resp, nil)
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

func startChainAnd(t *testing.T, h http.HandlerFunc) (*front, *delegate) {
	t.Helper()
	ca := newAuthority(t)
	d := startDelegate(t, ca, h)
	f := newTestForwarder(t, ca, d.address, nil)
	return &front{Server: startFront(t, f), forwarder: f}, d
}

func TestServerSaysWhatIsWrongWithItsFiles(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	caFile, cert, key := ca.files(dir, ca.serving(tier.Core))
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	good := ServerConfig{
		Listener: l, CAFile: caFile, CertFile: cert, KeyFile: key,
		Admit: func(identity.Peer) bool { return true }, Handler: http.NotFoundHandler(),
	}
	for want, change := range map[string]func(*ServerConfig){
		"Handler":                   func(c *ServerConfig) { c.Handler = nil },
		"cannot read the internal":  func(c *ServerConfig) { c.CAFile = "/nowhere" },
		"no certificate in":         func(c *ServerConfig) { c.CAFile = key },
		"hop's serving certificate": func(c *ServerConfig) { c.KeyFile = "/nowhere" },
	} {
		c := good
		change(&c)
		if _, err := NewServer(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
