// Package delegate is the next tier as the tier before it sees it: something to
// forward requests to, something that stands in upstream's chain where a
// DelegationTarget in the same process would, and the source of discovery and
// checks that used to be shared memory.
package delegate

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// timeoutSlack is what a hop waits longer than the request may take where it is
// served, so that it is the serving tier that times out, and answers.
const timeoutSlack = 10 * time.Second

// Delegate is one tier that requests are forwarded to.
type Delegate struct {
	Tier tier.Name
	// Client watches the tier.
	Client *handshake.Replicas

	forwarder *hop.Spread
	openAPI   *documents
}

// New returns the delegate of the given name and begins to watch it. timeout is
// how long a request may take where it is served, unless it is long-running. ctx
// ends the watching, which is to outlive every request.
func New(ctx context.Context, p *process.Process, name tier.Name, timeout time.Duration) (*Delegate, error) {
	client, err := p.Watch(name)
	if err != nil {
		return nil, fmt.Errorf("cannot watch %s: %w", name, err)
	}
	cfg, err := p.DelegationTLS(name)
	if err != nil {
		return nil, fmt.Errorf("cannot delegate to %s: %w", name, err)
	}
	d := &Delegate{Tier: name, Client: client}
	d.openAPI = newDocuments(inMemory(d.Judged()), func() bool {
		state, _ := client.State()
		return handshake.Complete(state)
	})
	d.forwarder = hop.NewSpread(hop.ForwarderConfig{
		Delegate:    name,
		TLS:         cfg,
		LongRunning: longRunning,
		Watches:     isWatch,
		Once:        proxied,
		Timeout:     timeout + timeoutSlack,
		ErrorWriter: serving.WriteUnserved,
	})
	client.OnLost(d.forwarder.Lost)
	p.OnRenewed(func(time.Duration) error { d.forwarder.Refresh(); return nil })
	p.FollowReplicas(name, func(all []wiring.Endpoint) { d.forwarder.Set(d.replicas(all)) })
	if p.Wiring.IsHead() { // which alone feeds
		client.WithDiscovery()
	}
	go client.Run(ctx)
	return d, nil
}

// replicas are the processes of the delegate as the hop wants to know them.
func (d *Delegate) replicas(all []wiring.Endpoint) []hop.Replica {
	var out []hop.Replica
	for _, at := range all {
		client := d.Client.Replica(at.Replica)
		if client != nil {
			out = append(out, hop.Replica{Name: at.Replica, Address: at.Hop, Socket: at.HopSocket, Available: client.Available, Ready: client.Ready, Remote: at.Remote})
		}
	}
	return out
}

// Life is unique to this life of the process that speaks for the delegate; empty while
// none is there.
func (d *Delegate) Life() string {
	state, _ := d.Client.State()
	if !state.Connected {
		return ""
	}
	return state.Description.GetIncarnation()
}

// WaitFor returns when the delegate has reached stage. The error is ctx's.
func (d *Delegate) WaitFor(ctx context.Context, stage tier.Stage) error {
	_, err := d.Client.Wait(ctx, handshake.At(stage))
	return err
}

// Await is WaitFor with a delegate that one can do without: at the deadline the
// caller goes on. So the order of the chain holds, and a delegate that cannot
// start does not keep others from starting. The error is ctx's.
func (d *Delegate) Await(ctx context.Context, stage tier.Stage, deadline time.Time) error {
	bounded, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := d.WaitFor(bounded, stage); err != nil && ctx.Err() == nil {
		klog.InfoS("Going on without the delegate", "delegate", d.Tier, "stage", stage)
	}
	return ctx.Err()
}

// longRunning asks what the handler chain found out about the request.
func longRunning(r *http.Request) bool {
	info, ok := request.RequestInfoFrom(r.Context())
	return ok && serving.LongRunning(r, info)
}

func isWatch(r *http.Request) bool {
	info, ok := request.RequestInfoFrom(r.Context())
	return ok && info.IsResourceRequest && info.Verb == "watch"
}

// proxied tells whether the delegate passes the request on to a server of the
// user's, which sees it as often as it is sent.
func proxied(r *http.Request) bool {
	info, ok := request.RequestInfoFrom(r.Context())
	return ok && (info.Subresource == "proxy" || info.Verb == "proxy")
}

// ServeHTTP forwards a request that carries its identity already.
func (d *Delegate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A client that leaves its watch is no event; upstream's panic filter would
	// log each as an error.
	defer func() {
		if p := recover(); p != nil && (p != http.ErrAbortHandler || r.Context().Err() == nil) {
			panic(p)
		}
	}()
	d.forwarder.ServeHTTP(w, r)
}

// Target returns the delegate as upstream's chain wants it. next is the tier
// behind it, or nil.
func (d *Delegate) Target(next genericapiserver.DelegationTarget) genericapiserver.DelegationTarget {
	return target{
		DelegationTarget: genericapiserver.NewEmptyDelegateWithCustomHandler(d.endOfChain()),
		delegate:         d,
		next:             next,
	}
}

// target implements genericapiserver.DelegationTarget; upstream keeps some of
// the result types to itself, so what the empty delegate returns serves for the
// methods that do not matter across processes.
type target struct {
	genericapiserver.DelegationTarget
	delegate *Delegate
	next     genericapiserver.DelegationTarget
}

// ListedPaths drives the registration of APIServices, so it must be known when
// the head is built. It is never empty: upstream takes a last delegate without
// paths for the empty one and leaves its OpenAPI out for good.
func (t target) ListedPaths() []string {
	state, _ := t.delegate.Client.State()
	paths := append([]string{"/openapi/v2", "/openapi/v3"}, state.Routes.GetListedPaths()...)
	if t.next != nil {
		paths = append(paths, t.next.ListedPaths()...)
	}
	return paths
}

// NextDelegate leads OpenAPI's walk along the chain.
func (t target) NextDelegate() genericapiserver.DelegationTarget {
	if t.next == nil {
		return nil
	}
	return t.next
}
