package aggregator

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/component-base/metrics/prometheusextension.(*weightedHistogram).run"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// other is a tier behind the head: its handshake, and the head's view of it.
type other struct {
	*delegate.Delegate
	*handshake.Server
	t *testing.T
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

func start(t *testing.T, paths pki.Paths, name tier.Name) *other {
	t.Helper()
	files, head := paths.Internal(name), paths.Internal(tier.Aggregator)
	cfg, err := pki.ClientTLS(files.CA, files.Serving.Cert, files.Serving.Key, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.ClientCAs, cfg.ClientAuth = cfg.RootCAs, tls.RequireAndVerifyClientCert
	s := handshake.NewServer(cfg, &handshakev1.DescribeResponse{
		Protocol: handshake.Protocol, OldestProtocol: handshake.OldestProtocol, Tier: string(name), Incarnation: "first",
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := pki.ClientTLS(head.CA, head.Self.Cert, head.Self.Key, identity.ServerName(name))
	if err != nil {
		t.Fatal(err)
	}
	client, err := handshake.NewReplicas(name, []wiring.Endpoint{{Replica: string(name) + "-0", Handshake: l.Addr().String()}}, mine, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { _ = s.Serve(l); ended <- struct{}{} }()
	go func() { client.Run(ctx); ended <- struct{}{} }()
	t.Cleanup(func() { s.Stop(); cancel(); <-ended; <-ended })
	return &other{Delegate: &delegate.Delegate{Tier: name, Client: client}, Server: s, t: t}
}

func served(complete bool, groups ...string) *handshakev1.RoutesResponse {
	r := &handshakev1.RoutesResponse{Complete: complete}
	for _, group := range groups {
		r.GroupVersions = append(r.GroupVersions, &handshakev1.GroupVersion{Group: group, Version: "v1"})
	}
	return r
}

// tell has the tier serve groups, and waits until the head knows.
func (o *other) tell(complete bool, groups ...string) handshake.State {
	o.t.Helper()
	r := served(complete, groups...)
	o.Publish(r)
	o.Reach(tier.Prepared)
	state, err := o.Client.Wait(o.t.Context(), func(s handshake.State) bool {
		return handshake.At(tier.Prepared)(s) && s.Routes.GetGeneration() == r.GetGeneration()
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return state
}

// registered is an APIService. managed is the label by which upstream's
// controller knows what it made: "true" for CRDs, "onstart" for built-in ones.
func registered(group, version, managed string, service *v1.ServiceReference) *v1.APIService {
	s := &v1.APIService{ObjectMeta: metav1.ObjectMeta{Name: version + "." + group}, Spec: v1.APIServiceSpec{Group: group, Version: version, Service: service}}
	if managed != "" {
		s.Labels = map[string]string{"kube-aggregator.kubernetes.io/automanaged": managed}
	}
	return s
}

func listing(t *testing.T, services ...*v1.APIService) listers.APIServiceLister {
	t.Helper()
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for _, s := range services {
		if err := indexer.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	return listers.NewAPIServiceLister(indexer)
}

func gone(s handshake.State) bool { return !s.Connected }
