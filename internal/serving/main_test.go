package serving

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/compatibility"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// What waits for the end of a server that no test runs to its end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
		goleak.IgnoreAnyFunction("triptych.dev/triptych/internal/serving.afterDelay.func1"),
		goleak.IgnoreAnyFunction("k8s.io/component-base/metrics/prometheusextension.(*weightedHistogram).run"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// newConfig is a configuration with which a handler chain can be built.
func newConfigOf(t *testing.T) *genericapiserver.Config {
	t.Helper()
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{}, &metav1.APIGroupList{})
	c := genericapiserver.NewConfig(serializer.NewCodecFactory(scheme))
	c.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	c.RequestInfoResolver = genericapiserver.NewRequestInfoResolver(c)
	c.LongRunningFunc = LongRunning
	c.FeatureGate = utilfeature.DefaultFeatureGate
	c.ExternalAddress = "127.0.0.1:6443"
	c.LoopbackClientConfig = &rest.Config{}
	c.EffectiveVersion = compatibility.NewEffectiveVersionFromString("1.37", "", "")
	c.SkipOpenAPIInstallation = true
	c.AggregatedDiscoveryGroupManager = NewDiscoveryManager()
	return c
}

// inner is a hop listener that lets every peer in.
type inner struct {
	t       *testing.T
	paths   pki.Paths
	address string
}

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

func startInner(t *testing.T, handler http.Handler) *inner {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &inner{t: t, paths: newPKI(t), address: l.Addr().String()}
	files := i.paths.Internal(tier.Core)
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
	return i
}

// get sends a request as the peer and returns the answer and its body.
func (i *inner) get(peer identity.Peer, path string, header http.Header) (*http.Response, string) {
	i.t.Helper()
	files := i.paths.Internal(peer.Name)
	pair := map[identity.Role]wiring.KeyPair{identity.Self: files.Self, identity.Delegation: files.Delegation}[peer.Role]
	cfg, err := pki.ClientTLS(files.CA, pair.Cert, pair.Key, identity.ServerName(tier.Core))
	if err != nil {
		i.t.Fatal(err)
	}
	return getWith(i.t, cfg, "https://"+i.address+path, header)
}

func getWith(t *testing.T, cfg *tls.Config, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: cfg}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range header {
		r.Header[key] = values
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// stamped returns the header of a delegated request.
func stamped(t *testing.T, id identity.Identity) http.Header {
	t.Helper()
	h := http.Header{}
	if err := identity.Stamp(h, id); err != nil {
		t.Fatal(err)
	}
	return h
}

// from returns ctx as WithIdentity leaves it.
func from(ctx context.Context, id identity.Identity) context.Context {
	return context.WithValue(ctx, callerKey{}, caller{Identity: id})
}
