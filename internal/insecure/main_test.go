package insecure

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
)

func TestMain(m *testing.M) {
	// net/http leaves a client that is still sending half a second to read its refusal.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// certificates makes what a supervisor makes at its start.
func certificates(t *testing.T) pki.Paths {
	t.Helper()
	dir := must(datadir.Open(t.TempDir()))
	t.Cleanup(func() { dir.Close() })
	must(pki.Ensure(pki.Options{Dir: dir.Dir}))
	return pki.Paths{Dir: dir.Dir}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { l.Close() })
	return l
}

// fixture is a Front and the head behind it, which is the serving end of a real
// hop.
type fixture struct {
	*Front
	t *testing.T
	// behind is the head's listener.
	behind net.Listener

	mu   sync.Mutex
	away error // what Available says
}

// start runs a Front. handler is the head's; nil is a head that holds its
// listener open and accepts nobody.
func start(t *testing.T, handler http.HandlerFunc) *fixture {
	t.Helper()
	paths, l := certificates(t), listen(t)
	if handler != nil {
		serveHead(t, paths, l, handler)
	}
	mine := paths.Internal(identity.Supervisor)
	cfg := must(pki.ClientTLS(mine.CA, mine.Delegation.Cert, mine.Delegation.Key, identity.ServerName(tier.Aggregator)))
	f := serveFront(t, l.Addr().String(), cfg)
	f.behind = l
	return f
}

func serveHead(t *testing.T, paths pki.Paths, l net.Listener, handler http.HandlerFunc) {
	t.Helper()
	mine := paths.Internal(tier.Aggregator)
	head := must(hop.NewServer(hop.ServerConfig{
		Listener: l, CAFile: mine.CA, CertFile: mine.Serving.Cert, KeyFile: mine.Serving.Key,
		Admit: func(p identity.Peer) bool {
			return p == identity.Peer{Name: identity.Supervisor, Role: identity.Delegation}
		},
		Handler: handler,
	}))
	served := make(chan error, 1)
	go func() { served <- head.Serve() }()
	t.Cleanup(func() {
		head.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func serveFront(t *testing.T, address string, cfg *tls.Config) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.Front = New(Config{Listener: listen(t), Head: tier.Aggregator, TLS: cfg})
	f.SetHeads([]hop.Replica{{Name: "aggregator-0", Address: address, Available: func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.away
	}}})
	served := make(chan error, 1)
	go func() { served <- f.Serve() }()
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return f
}

func (f *fixture) setAway(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = why
}

// do sends a request; headers are pairs, and Host is one of them.
func (f *fixture) do(method, path string, body io.Reader, headers ...string) (*http.Response, string) {
	f.t.Helper()
	r := must(http.NewRequest(method, f.URL()+path, body))
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp, string(content)
}
