package handshake

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newPKI makes the certificates of a data directory.
func newPKI(t *testing.T) pki.Paths {
	t.Helper()
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := pki.Ensure(pki.Options{Dir: dir.Dir}); err != nil {
		t.Fatal(err)
	}
	return pki.Paths{Dir: dir.Dir}
}

func tlsOf(t *testing.T, ca string, pair wiring.KeyPair, serverName string) *tls.Config {
	t.Helper()
	cfg, err := pki.ClientTLS(ca, pair.Cert, pair.Key, serverName)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func serverTLS(t *testing.T, paths pki.Paths, name tier.Name) *tls.Config {
	t.Helper()
	w := paths.Internal(name)
	cfg := tlsOf(t, w.CA, w.Serving, "")
	cfg.ClientCAs, cfg.ClientAuth = cfg.RootCAs, tls.RequireAndVerifyClientCert
	return cfg
}

// place is where the processes of one tier live one after another: its
// listener stays open between them, as the supervisor's does.
type place struct {
	t        *testing.T
	paths    pki.Paths
	tier     tier.Name
	listener *net.TCPListener
}

func newPlace(t *testing.T, name tier.Name) *place {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &place{t: t, paths: newPKI(t), tier: name, listener: l}
}

// live starts one incarnation. change may alter what it says of itself.
func (p *place) live(incarnation string, change ...func(*handshakev1.DescribeResponse)) *Server {
	p.t.Helper()
	d := &handshakev1.DescribeResponse{
		Protocol: Protocol, OldestProtocol: OldestProtocol, Tier: string(p.tier), Incarnation: incarnation,
		Settings: map[string]string{"feature-gates": "a", Emulated: "1.37"},
	}
	for _, f := range change {
		f(d)
	}
	s := NewServer(serverTLS(p.t, p.paths, p.tier), d)
	p.serve(s)
	return s
}

func (p *place) serve(s *Server) {
	p.t.Helper()
	f, err := p.listener.File()
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	p.t.Cleanup(func() { s.Stop(); <-done })
}

// client returns one with the self certificate of a tier, not yet running.
func (p *place) client(as tier.Name, change ...func(*tls.Config)) *Client {
	p.t.Helper()
	w := p.paths.Internal(as)
	cfg := tlsOf(p.t, w.CA, w.Self, identity.ServerName(p.tier))
	for _, f := range change {
		f(cfg)
	}
	c, err := NewClient(p.tier, p.listener.Addr().String(), cfg, map[string]string{"feature-gates": "a", Emulated: "1.37"})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// run has c watch until the test ends.
func (p *place) run(c *Client) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	p.t.Cleanup(func() { cancel(); <-done })
	return c
}

func await(t *testing.T, c *Client, what string, ok func(State) bool) State {
	t.Helper()
	state, err := c.Wait(t.Context(), ok)
	if err != nil {
		t.Fatalf("waiting for %s: %v, last seen %+v", what, err, state)
	}
	return state
}

func gone(s State) bool { return !s.Connected }
