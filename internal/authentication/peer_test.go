package authentication

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// private starts the head's private listener and returns how to reach it.
func private(t *testing.T, handler http.Handler) (paths pki.Paths, url string) {
	t.Helper()
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := pki.Ensure(pki.Options{Dir: dir.Dir}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	paths = pki.Paths{Dir: dir.Dir}
	files := paths.Internal(tier.Aggregator)
	s, err := hop.NewServer(hop.ServerConfig{
		Listener: l, CAFile: files.CA, CertFile: files.Serving.Cert, KeyFile: files.Serving.Key,
		Admit: func(identity.Peer) bool { return true }, Handler: handler,
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve()
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return paths, "https://" + l.Addr().String()
}

func getAs(t *testing.T, ca string, pair wiring.KeyPair, url string, header http.Header) {
	t.Helper()
	cfg, err := pki.ClientTLS(ca, pair.Cert, pair.Key, identity.ServerName(tier.Aggregator))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestATierIsWhoItsCertificateSaysAndNeverAnonymous(t *testing.T) {
	clients := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		t.Error("a tier was judged as a client is")
		return &authenticator.Response{User: &user.DefaultInfo{Name: user.Anonymous}}, true, nil
	})
	var got user.Info
	paths, url := private(t, serving.WithIdentity(WithVerdict(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = nil
		if response, ok, err := VerdictAuthenticator(r); ok && err == nil {
			got = response.User
		}
	}), clients)))
	jane := http.Header{}
	if err := identity.Stamp(jane, identity.Identity{User: &user.DefaultInfo{Name: "jane"}}); err != nil {
		t.Fatal(err)
	}
	core, supervisor := paths.Internal(tier.Core), paths.Internal(identity.Supervisor)
	for name, c := range map[string]struct {
		pair   wiring.KeyPair
		header http.Header
		want   string
	}{
		"core itself":                        {core.Self, http.Header{}, user.APIServerUser},
		"core itself, with a token":          {core.Self, bearer("good"), user.APIServerUser},
		"the supervisor for jane":            {supervisor.Delegation, jane, "jane"},
		"the supervisor for nobody":          {supervisor.Delegation, http.Header{}, ""},
		"the supervisor for nobody, a token": {supervisor.Delegation, bearer("good"), ""},
	} {
		getAs(t, core.CA, c.pair, url, c.header.Clone())
		if (c.want == "") != (got == nil) || (got != nil && got.GetName() != c.want) {
			t.Errorf("%s: served as %v, want %q", name, got, c.want)
		}
	}
}
