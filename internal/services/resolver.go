// Package services finds the address behind a Service for calls that an API
// server makes: to webhooks and to aggregated API servers.
package services

import (
	"net/url"

	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/informers"
	corev1 "k8s.io/client-go/listers/core/v1"
)

// Resolver resolves Services to their cluster IP, and the API's own Service to
// the head's private listener.
type Resolver struct {
	services corev1.ServiceLister
	own      *url.URL
}

// NewResolver returns a resolver that learns of Services from the informers. own
// is the URL that kubernetes.default stands for.
func NewResolver(informers informers.SharedInformerFactory, own string) *Resolver {
	u, err := url.Parse(own)
	if err != nil {
		panic(err) // made of a checked host:port
	}
	return &Resolver{services: informers.Core().V1().Services().Lister(), own: u}
}

// ResolveEndpoint implements the ServiceResolver of webhooks and of the
// aggregator.
func (r *Resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	if namespace == "default" && name == "kubernetes" && port == 443 {
		return r.own, nil
	}
	return proxy.ResolveCluster(r.services, namespace, name, port)
}
