package core

import (
	"net"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

// endpoints are those of the kubernetes Service. Replicas of core publish one and the
// same address, the head's: one that starts must not take it out, as kube-apiserver
// does until it is ready, and one that stops must not while another is there. Only
// when the whole API is withdrawn do all take it out.
type endpoints struct {
	reconcilers.EndpointReconciler
	// alone tells whether there is no other replica now.
	alone     func() bool
	withdrawn atomic.Bool
}

// RemoveEndpoints implements reconcilers.EndpointReconciler.
func (e *endpoints) RemoveEndpoints(service string, ip net.IP, ports []corev1.EndpointPort) error {
	if !e.withdrawn.Load() && !e.alone() {
		return storage.NewKeyNotFoundError(service, 0)
	}
	return e.EndpointReconciler.RemoveEndpoints(service, ip, ports)
}
