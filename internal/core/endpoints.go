package core

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/wiring"
)

// endpoints are those of the kubernetes Service. Replicas of core publish one and the
// same address, the head's: one that starts must not take it out, as kube-apiserver
// does until it is ready, and one that stops must not while another is there. Only
// when the whole API is withdrawn do all take it out.
type endpoints struct {
	reconcilers.EndpointReconciler
	// alone tells whether there is no other replica on this host now.
	alone     func() bool
	withdrawn atomic.Bool
	// elsewhere are the heads of other hosts; nil where core itself is the head. Their
	// addresses are published by every core that sees them, and taken out when a head says
	// that it leaves; that of one that is lost runs out.
	elsewhere *headsElsewhere
	// headless: there is no head on this host.
	headless bool
}

// newEndpoints returns those of p, without the reconciler.
func newEndpoints(p *process.Process) (*endpoints, error) {
	e := &endpoints{alone: p.Alone, headless: p.Wiring.PublishesHeads}
	if p.Wiring.IsHead() {
		return e, nil
	}
	watched, err := p.Watch(p.Wiring.Head)
	if err != nil {
		return nil, err
	}
	e.elsewhere = &headsElsewhere{watched: watched, published: map[string]published{}}
	p.FollowReplicas(p.Wiring.Head, e.left)
	return e, nil
}

// ReconcileEndpoints implements reconcilers.EndpointReconciler.
func (e *endpoints) ReconcileEndpoints(service string, ip net.IP, ports []corev1.EndpointPort, reconcilePorts bool) error {
	var errs []error
	if !e.headless {
		errs = append(errs, e.EndpointReconciler.ReconcileEndpoints(service, ip, ports, reconcilePorts))
	}
	if e.elsewhere == nil {
		return errors.Join(errs...)
	}
	for name, address := range e.elsewhere.ready() {
		at := published{service: service, ip: address.Addr().AsSlice(), ports: portsWith(ports, address.Port())}
		e.elsewhere.note(name, at)
		errs = append(errs, e.EndpointReconciler.ReconcileEndpoints(service, at.ip, at.ports, reconcilePorts))
	}
	return errors.Join(errs...)
}

// RemoveEndpoints implements reconcilers.EndpointReconciler.
func (e *endpoints) RemoveEndpoints(service string, ip net.IP, ports []corev1.EndpointPort) error {
	if e.headless || !e.withdrawn.Load() && !e.alone() {
		return storage.NewKeyNotFoundError(service, 0)
	}
	return e.EndpointReconciler.RemoveEndpoints(service, ip, ports)
}

// left takes out the addresses of heads that are not among replicas any more.
func (e *endpoints) left(replicas []wiring.Endpoint) {
	for _, gone := range e.elsewhere.gone(replicas) {
		// The next reconciliation of anybody's does it, should this fail.
		_ = e.EndpointReconciler.RemoveEndpoints(gone.service, gone.ip, gone.ports)
	}
}

func portsWith(ports []corev1.EndpointPort, port uint16) []corev1.EndpointPort {
	var all []corev1.EndpointPort
	for _, one := range ports {
		one.Port = int32(port)
		all = append(all, one)
	}
	return all
}

// headsElsewhere are heads of other hosts, and what is published of them.
type headsElsewhere struct {
	watched *handshake.Replicas

	mu        sync.Mutex
	remote    map[string]bool      // the names of those that are on other hosts
	published map[string]published // by replica
}

// published is one address in the endpoints.
type published struct {
	service string
	ip      net.IP
	ports   []corev1.EndpointPort
}

// ready returns the addresses of the heads that clients may be sent to, by replica.
func (h *headsElsewhere) ready() map[string]netip.AddrPort {
	all := map[string]netip.AddrPort{}
	for name, head := range h.watched.Others("") {
		state, _ := head.State()
		if address, err := netip.ParseAddrPort(state.Description.GetPublicAddress()); err == nil && h.isRemote(name) && !address.Addr().IsLoopback() && head.Ready() {
			all[name] = address
		}
	}
	return all
}

func (h *headsElsewhere) isRemote(replica string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.remote[replica]
}

func (h *headsElsewhere) note(replica string, at published) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.published[replica] = at
}

// gone forgets what is published of replicas that are not among those there are, and
// returns what is published of no other.
func (h *headsElsewhere) gone(there []wiring.Endpoint) []published {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := h.published
	h.published, h.remote = map[string]published{}, map[string]bool{}
	kept := map[string]bool{}
	for _, at := range there {
		h.remote[at.Replica] = at.Remote
		if known, ok := left[at.Replica]; ok {
			h.published[at.Replica] = known
			kept[known.ip.String()] = true
			delete(left, at.Replica)
		}
	}
	var gone []published
	for _, one := range left {
		if !kept[one.ip.String()] {
			gone = append(gone, one)
		}
	}
	return gone
}
