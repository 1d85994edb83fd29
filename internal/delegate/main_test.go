package delegate

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/component-base/metrics/prometheusextension.(*weightedHistogram).run"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// extensions is where the processes of the delegate live, one after another,
// and core's view of them.
type extensions struct {
	*Delegate
	t                   *testing.T
	paths               pki.Paths
	handshake, listener *net.TCPListener
	handler             http.Handler
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newExtensions(t *testing.T, handler http.Handler) *extensions {
	t.Helper()
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := pki.Ensure(pki.Options{Dir: dir.Dir}); err != nil {
		t.Fatal(err)
	}
	e := &extensions{t: t, paths: pki.Paths{Dir: dir.Dir}, handshake: listen(t), listener: listen(t), handler: handler}
	e.Delegate = e.seenBy(tier.Core)
	return e
}

// seenBy returns the delegate of a process of the named tier, behind the
// aggregator.
func (e *extensions) seenBy(name tier.Name) *Delegate { return e.seenIn(tier.Aggregator, name) }

// seenIn returns the delegate of a process of the named tier in a chain with the
// given head.
func (e *extensions) seenIn(head, name tier.Name) *Delegate {
	e.t.Helper()
	at := wiring.Endpoint{Replica: "extensions-0", Hop: e.listener.Addr().String(), Handshake: e.handshake.Addr().String()}
	p, err := process.Caller(&wiring.Wiring{
		Tier: name, Head: head, PKI: e.paths.Internal(name), Tiers: map[tier.Name][]wiring.Endpoint{tier.Extensions: {at}},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d, err := New(ctx, p, tier.Extensions, time.Minute)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { cancel(); d.forwarder.Close() })
	return d
}

// again is another listener on the same socket.
func again(t *testing.T, l *net.TCPListener) net.Listener {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// life is one incarnation.
type life struct {
	*handshake.Server
	stop func()
}

func (e *extensions) live(incarnation string) *life {
	e.t.Helper()
	files := e.paths.Internal(tier.Extensions)
	cfg, err := pki.ClientTLS(files.CA, files.Serving.Cert, files.Serving.Key, "")
	if err != nil {
		e.t.Fatal(err)
	}
	cfg.ClientCAs, cfg.ClientAuth = cfg.RootCAs, tls.RequireAndVerifyClientCert
	s := handshake.NewServer(cfg, &handshakev1.DescribeResponse{
		Protocol: handshake.Protocol, OldestProtocol: handshake.OldestProtocol, Tier: "extensions", Incarnation: incarnation,
	})
	inner, err := hop.NewServer(hop.ServerConfig{
		Listener: again(e.t, e.listener), CAFile: files.CA, CertFile: files.Serving.Cert, KeyFile: files.Serving.Key,
		Admit: func(identity.Peer) bool { return true }, Handler: serving.WithIdentity(e.handler),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	ended := make(chan struct{}, 2)
	go func() { _ = s.Serve(again(e.t, e.handshake)); ended <- struct{}{} }()
	go func() { _ = inner.Serve(); ended <- struct{}{} }()
	stopped := false
	l := &life{Server: s, stop: func() {
		if !stopped {
			stopped = true
			s.Stop()
			inner.Close()
			<-ended
			<-ended
		}
	}}
	e.t.Cleanup(l.stop)
	return l
}

// prepared takes the process to where requests may be sent to it.
func (e *extensions) prepared(l *life) {
	e.t.Helper()
	l.Publish(&handshakev1.RoutesResponse{})
	l.Reach(tier.Prepared)
	if err := e.WaitFor(e.t.Context(), tier.Prepared); err != nil {
		e.t.Fatal(err)
	}
}

func (e *extensions) wait(what string, ok func(handshake.State) bool) handshake.State {
	e.t.Helper()
	state, err := e.Client.Wait(e.t.Context(), ok)
	if err != nil {
		e.t.Fatalf("waiting for %s: %v", what, err)
	}
	return state
}

// lose ends l and waits until that is known.
func (e *extensions) lose(l *life) handshake.State {
	l.stop()
	return e.wait("the loss", func(s handshake.State) bool { return !s.Connected })
}
