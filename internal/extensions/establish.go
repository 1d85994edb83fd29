package extensions

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apihelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

const (
	// establishPatience is how long kube-apiserver waits in clusters of several API
	// servers before it calls a CRD established, whether they know it or not.
	establishPatience = 5 * time.Second
	establishPoll     = 10 * time.Millisecond
)

// establishment has a CRD become Established only when every replica of extensions
// serves it: until then a client that was told so might get a 404 from a slower one.
// It holds back the one call by which upstream's controller says so.
type establishment struct {
	// self is this replica, replicas all of the tier.
	self     string
	replicas *handshake.Replicas
	lister   atomic.Pointer[listers.CustomResourceDefinitionLister] // set before the controllers start
}

// awaitOthers makes what holds the controllers' client back.
func awaitOthers(p *process.Process, client *rest.Config) (*establishment, error) {
	replicas, err := p.Watch(tier.Extensions)
	if err != nil {
		return nil, err
	}
	e := &establishment{self: p.Wiring.Replica, replicas: replicas}
	client.Wrap(e.Wrap)
	p.Handshake.RegisterDefinitions(e.known)
	return e, nil
}

// Wrap is for the client that the controllers use.
func (e *establishment) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if name := namedStatus(r); name != "" {
			e.await(r.Context(), name)
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// namedStatus is the CRD whose status r changes, or empty.
func namedStatus(r *http.Request) string {
	name, ours := strings.CutPrefix(r.URL.Path, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/")
	name, status := strings.CutSuffix(name, "/status")
	if r.Method != http.MethodPut || !ours || !status {
		return ""
	}
	return name
}

// await returns when the other replicas know the CRD that is about to be established,
// or are given up.
func (e *establishment) await(ctx context.Context, name string) {
	lister := e.lister.Load()
	if lister == nil {
		return
	}
	crd, err := (*lister).Get(name)
	if err != nil || !accepted(crd) || apihelpers.IsCRDConditionTrue(crd, v1.Established) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, establishPatience)
	defer cancel()
	var all sync.WaitGroup
	for replica, other := range e.replicas.Others(e.self) {
		all.Go(func() {
			if err := other.AwaitDefinition(ctx, name, string(crd.UID)); err != nil {
				klog.InfoS("Another replica does not know a CRD that is established", "crd", name, "replica", replica, "err", err)
			}
		})
	}
	all.Wait()
}

// known returns when this replica serves the CRD, for another one that asks. The error
// is ctx's.
func (e *establishment) known(ctx context.Context, name, uid string) error {
	return wait.PollUntilContextCancel(ctx, establishPoll, true, func(context.Context) (bool, error) {
		lister := e.lister.Load()
		if lister == nil {
			return false, errors.New("it is starting")
		}
		crd, err := (*lister).Get(name)
		return err == nil && string(crd.UID) == uid && accepted(crd), nil
	})
}

// accepted tells whether custom resources are served: upstream looks for no more.
func accepted(crd *v1.CustomResourceDefinition) bool {
	return apihelpers.IsCRDConditionTrue(crd, v1.NamesAccepted)
}
