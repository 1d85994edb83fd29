package extensions

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// otherReplica starts a second replica, as far as the first one sees it.
func otherReplica(t *testing.T, known func(ctx context.Context, name, uid string) error) *establishment {
	t.Helper()
	dir, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := pki.Ensure(pki.Options{Dir: dir.Dir}); err != nil {
		t.Fatal(err)
	}
	mine := pki.Paths{Dir: dir.Dir}.Internal(tier.Extensions)
	pair, err := tls.LoadX509KeyPair(mine.Serving.Cert, mine.Serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(mine.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	s := handshake.NewServer(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
		&handshakev1.DescribeResponse{
			Protocol: handshake.Protocol, OldestProtocol: handshake.OldestProtocol, Tier: string(tier.Extensions), Replica: "extensions-1", Incarnation: "first",
		})
	s.RegisterDefinitions(known)
	s.Reach(tier.Prepared)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pki.ClientTLS(mine.CA, mine.Self.Cert, mine.Self.Key, identity.ServerName(tier.Extensions))
	if err != nil {
		t.Fatal(err)
	}
	replicas, err := handshake.NewReplicas(tier.Extensions, []wiring.Endpoint{
		{Replica: "extensions-0", Handshake: "127.0.0.1:1"}, {Replica: "extensions-1", Handshake: l.Addr().String()},
	}, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { _ = s.Serve(l); ended <- struct{}{} }()
	go func() { replicas.Run(ctx); ended <- struct{}{} }()
	t.Cleanup(func() { s.Stop(); cancel(); <-ended; <-ended })
	for len(replicas.Others("extensions-0")) == 0 {
		time.Sleep(time.Millisecond)
	}
	return &establishment{self: "extensions-0", replicas: replicas}
}

func (e *establishment) knows(crds ...*v1.CustomResourceDefinition) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for _, crd := range crds {
		_ = indexer.Add(crd)
	}
	lister := listers.NewCustomResourceDefinitionLister(indexer)
	e.lister.Store(&lister)
}

func definition(conditions ...v1.CustomResourceDefinitionConditionType) *v1.CustomResourceDefinition {
	crd := &v1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "gadgets.example.com", UID: "1"}}
	for _, c := range conditions {
		crd.Status.Conditions = append(crd.Status.Conditions, v1.CustomResourceDefinitionCondition{Type: c, Status: v1.ConditionTrue})
	}
	return crd
}

func TestACRDIsEstablishedOnceEveryReplicaServesIt(t *testing.T) {
	asked, known := make(chan struct{}, 10), make(chan struct{})
	e := otherReplica(t, func(ctx context.Context, name, uid string) error {
		if name != "gadgets.example.com" || uid != "1" {
			t.Errorf("asked about %s %s", name, uid)
		}
		asked <- struct{}{}
		select {
		case <-known:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	passed := make(chan string, 10)
	client := e.Wrap(roundTripper(func(r *http.Request) (*http.Response, error) {
		passed <- r.Method + " " + r.URL.Path
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}))
	const status = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com/status"
	call := func(method, path string) {
		if _, err := client.RoundTrip(httptest.NewRequest(method, path, nil)); err != nil {
			t.Error(err)
		}
	}
	// What is not about to establish it is not held back.
	call(http.MethodPut, status)
	for _, crd := range []*v1.CustomResourceDefinition{definition(), definition(v1.NamesAccepted, v1.Established)} {
		e.knows(crd)
		call(http.MethodPut, status)
	}
	e.knows(definition(v1.NamesAccepted))
	call(http.MethodGet, status)
	call(http.MethodPut, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.example.com")
	if len(passed) != 5 || len(asked) != 0 {
		t.Fatalf("%d calls passed, the other was asked %d times", len(passed), len(asked))
	}
	go call(http.MethodPut, status)
	<-asked
	if len(passed) != 5 {
		t.Error("established before the other replica knew")
	}
	close(known)
	for range 6 {
		<-passed
	}
}

func TestAReplicaKnowsACRDThatItServes(t *testing.T) {
	e := &establishment{}
	soon := func(uid string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*establishPoll)
		defer cancel()
		return e.known(ctx, "gadgets.example.com", uid)
	}
	if soon("1") == nil {
		t.Error("knows it before it has a cache")
	}
	e.knows(definition())
	if soon("1") == nil {
		t.Error("knows one whose names are not accepted")
	}
	e.knows(definition(v1.NamesAccepted))
	if err := soon("1"); err != nil {
		t.Error(err)
	}
	if soon("2") == nil {
		t.Error("takes one for another of the same name")
	}
}
