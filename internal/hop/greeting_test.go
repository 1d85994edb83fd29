package hop

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// Whatever holds on TCP holds on unix sockets: all tests of the package once more.
func TestEverythingThroughSockets(t *testing.T) {
	if os.Getenv(throughSockets) != "" {
		return // this is that run
	}
	again := exec.Command(must(os.Executable()), "-test.skip=^TestEverythingThroughSockets$", "-test.timeout=5m")
	again.Env = append(os.Environ(), throughSockets+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A socket is used where there is one, for upgrades too.
func TestASocketIsUsedWhereThereIsOne(t *testing.T) {
	ca := newAuthority(t)
	networks := make(chan string, 10)
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		networks <- r.Context().Value(http.LocalAddrContextKey).(net.Addr).Network()
		if r.Header.Get("Upgrade") == "" {
			return
		}
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
		buf.Flush()
	}))
	f := newTestForwarder(t, ca, d.address, func(c *ForwarderConfig) { c.Socket = d.socket })
	front := &front{Server: startFront(t, f), forwarder: f}
	resp, err := front.http1().Get(front.URL)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	c := front.dial(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "hello" {
		t.Errorf("%q, %v", rest, err)
	}
	for range 2 {
		if got := <-networks; got != "unix" {
			t.Errorf("came over %s", got)
		}
	}
}

// A socket that is gone, as after a change of the wiring that is not known here yet, is
// no reason to fail.
func TestWithoutTheSocketTCPIsUsed(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	f := newTestForwarder(t, ca, d.address, func(c *ForwarderConfig) { c.Socket = "/nowhere/at/all" })
	front := &front{Server: startFront(t, f), forwarder: f}
	resp, err := front.http1().Get(front.URL)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
}

// Nothing but a proof of who one is gets a byte in, in whichever way it is missing.
func TestASocketGreetsOnlyPeers(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("served %s", r.URL)
	}))
	request := "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	refused := func(c net.Conn) {
		t.Helper()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, request)
		if answer, _ := io.ReadAll(c); strings.Contains(string(answer), "HTTP/1.1 200") {
			t.Errorf("answered %q", answer)
		}
	}
	dial := func() net.Conn {
		c := must(net.Dial("unix", d.socket))
		t.Cleanup(func() { c.Close() })
		return c
	}
	refused(dial()) // as if there were no TLS at all
	greet := func(change func(*tls.Config)) {
		t.Helper()
		config, raw := ca.clientTLS(), dial()
		change(config)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := greetServer(ctx, raw, config); err == nil {
			t.Error("was greeted")
		} else if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("was kept waiting: %v", err)
		}
		refused(raw)
	}
	greet(func(c *tls.Config) { c.Certificates = nil })
	greet(func(c *tls.Config) { c.Certificates = []tls.Certificate{other.client(head2core)} })
	greet(func(c *tls.Config) {
		c.Certificates = []tls.Certificate{ca.client(identity.Peer{Name: tier.Extensions, Role: identity.Self})}
	})
	greet(func(c *tls.Config) {
		c.Certificates = []tls.Certificate{ca.issue(func(cert *x509.Certificate) {
			cert.URIs, cert.NotAfter = nil, time.Now().Add(-time.Hour)
		})}
	})
	// And the other way round: who listens there is not the delegate.
	greet(func(c *tls.Config) { c.ServerName = identity.ServerName(tier.Extensions) })
	greet(func(c *tls.Config) { c.RootCAs = other.pool() })
}

// TLS must not take what is said behind the greeting for its own, however the pieces
// arrive.
func TestTheGreetingTakesNoByteOfWhatFollows(t *testing.T) {
	const greeting, next = "\x16\x03\x03\x00\x03\x01\x02\x03\x17\x03\x03\x00\x00\x17\x03\x03\x00\x01\x09", "GET / HTTP/1.1"
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"at once": func(c net.Conn) net.Conn { return c },
		"slowly":  func(c net.Conn) net.Conn { return slowly{c} },
	} {
		t.Run(name, func(t *testing.T) {
			server, client := socketPair(t)
			io.WriteString(wrap(server), greeting+next)
			server.Close()
			r := &records{Conn: client}
			got := ""
			for len(got) < len(greeting) {
				p := make([]byte, 512)
				n, err := r.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				got += string(p[:n])
			}
			if got != greeting {
				t.Errorf("read %q", got)
			}
			if rest, _ := io.ReadAll(client); string(rest) != next {
				t.Errorf("left %q", rest)
			}
		})
	}
}
