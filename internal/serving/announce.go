package serving

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/process"
)

// aggregatedDiscovery is the media type of the aggregated discovery document.
const aggregatedDiscovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// Registry knows group versions that a server serves or is about to, before the
// server's own discovery document has them.
type Registry interface {
	// GroupVersions may return one more than once.
	GroupVersions() []metav1.GroupVersion
	// OnChange has f, which does not block, called after each change from now on.
	OnChange(f func()) error
}

// announcer tells the other tiers what this one serves, now and whenever it
// changes, and how its checks stand when they ask.
type announcer struct {
	process  *process.Process
	server   *genericapiserver.GenericAPIServer
	registry Registry // or nil
	changed  chan struct{}
	ready    atomic.Bool
	// readiness is the server's.
	readiness *readiness
}

func announce(ctx context.Context, p *process.Process, server *genericapiserver.GenericAPIServer, registry Registry) (*announcer, error) {
	a := &announcer{process: p, server: server, registry: registry, changed: make(chan struct{}, 1), readiness: &readiness{handler: server.UnprotectedHandler()}}
	if registry != nil {
		if err := registry.OnChange(a.notify); err != nil {
			return nil, fmt.Errorf("cannot follow what is registered: %w", err)
		}
	}
	// The manager calls back under its lock: ask it anything only later.
	server.AggregatedDiscoveryGroupManager.AddInvalidationCallback(a.notify)
	p.Handshake.SetDiscovery(func() ([]byte, error) { return discoveryDocument(server) })
	p.Handshake.SetChecks(func() []*handshakev1.Check { return a.readiness.checks() })
	a.publish()
	go a.run(ctx)
	return a, nil
}

func (a *announcer) notify() {
	select {
	case a.changed <- struct{}{}:
	default: // an announcement that is due will see this change too
	}
}

// becameReady is called whenever the server becomes ready; what was complete once
// stays so.
func (a *announcer) becameReady() {
	a.ready.Store(true)
	a.notify()
}

func (a *announcer) run(ctx context.Context) {
	go func() {
		for _, signal := range a.server.MuxAndDiscoveryCompleteSignals() {
			select {
			case <-signal:
			case <-ctx.Done():
				return
			}
		}
		a.notify()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
			began := time.Now()
			a.publish()
			pause(ctx, min(restFactor*time.Since(began), longestRest))
		}
	}
}

// An announcement is of everything, so that one after each of many changes would cost by the square
// of their number, here and where it is read. One after another it waits for a while that goes
// by what they cost: with a few CRDs not to be noticed, with thousands the better part of a second.
const (
	restFactor  = 20
	longestRest = time.Second
)

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (a *announcer) publish() {
	// Before the document is made: what is complete now is in it.
	complete := a.complete()
	document, err := discoveryDocument(a.server)
	if err != nil {
		klog.ErrorS(err, "Cannot announce what is served")
		return
	}
	described, err := groupVersions(document)
	if err != nil {
		klog.ErrorS(err, "Cannot announce what is served")
		return
	}
	a.process.Handshake.Publish(&handshakev1.RoutesResponse{
		GroupVersions: a.withRegistered(described),
		ListedPaths:   a.server.ListedPaths(),
		Complete:      complete,
		Groups:        document,
	})
}

// complete tells whether the server has installed every path it knows of by
// itself and put it into its discovery document. The signals alone do not say
// the latter; readiness, which waits for the controllers' first round, does.
func (a *announcer) complete() bool {
	for _, signal := range a.server.MuxAndDiscoveryCompleteSignals() {
		select {
		case <-signal:
		default:
			return false
		}
	}
	return a.ready.Load()
}

// withRegistered adds what is registered. It is what APIServices are made of, and
// kube-apiserver does not wait with those either until there is something to ask.
func (a *announcer) withRegistered(described []metav1.GroupVersion) []*handshakev1.GroupVersion {
	all := sets.New(described...)
	if a.registry != nil {
		all.Insert(a.registry.GroupVersions()...)
	}
	var out []*handshakev1.GroupVersion
	for gv := range all {
		out = append(out, &handshakev1.GroupVersion{Group: gv.Group, Version: gv.Version})
	}
	return out
}

func groupVersions(document []byte) ([]metav1.GroupVersion, error) {
	// The names alone: with many CRDs, their resources are most of the document.
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Versions []struct{ Version string }
		}
	}
	if err := json.Unmarshal(document, &list); err != nil {
		return nil, fmt.Errorf("cannot read the discovery document: %w", err)
	}
	var out []metav1.GroupVersion
	for _, group := range list.Items {
		for _, version := range group.Versions {
			out = append(out, metav1.GroupVersion{Group: group.Metadata.Name, Version: version.Version})
		}
	}
	return out, nil
}

// discoveryDocument is asked of the manager itself: extensions does not serve
// it over HTTP, and core's is needed before core serves.
func discoveryDocument(server *genericapiserver.GenericAPIServer) ([]byte, error) {
	code, body := ask(server.AggregatedDiscoveryGroupManager, "/apis", aggregatedDiscovery)
	if code != http.StatusOK {
		return nil, fmt.Errorf("the discovery manager answered %d", code)
	}
	return body, nil
}

// ask puts a GET to a handler behind the handler chain, in memory.
func ask(handler http.Handler, target, accept string) (code int, body []byte) {
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		panic(err) // targets are constants
	}
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := responsewriter.NewInMemoryResponseWriter()
	handler.ServeHTTP(w, r)
	return w.RespCode(), w.Data()
}
