// Package services finds the address behind a Service for calls that an API
// server makes: to webhooks and to aggregated API servers.
package services

import (
	"fmt"
	"net/url"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/informers"
	corev1 "k8s.io/client-go/listers/core/v1"
)

// Options are kube-apiserver's flags about Services.
type Options struct{ EnableAggregatorRouting bool }

// AddFlags registers the flags.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.EnableAggregatorRouting, "enable-aggregator-routing", false, "Send requests to the endpoints of a Service, not to its cluster IP.")
}

// Resolver resolves Services to their cluster IP or to one of their endpoints,
// and the API's own Service to the head's private listener. It is written out
// because extensions must not link the aggregator, which has upstream's.
type Resolver struct {
	services corev1.ServiceLister
	slices   proxy.EndpointSliceGetter // nil: cluster IPs
	own      *url.URL
}

// NewResolver returns a resolver that learns of Services from the informers. own
// is the URL that kubernetes.default stands for.
func (o *Options) NewResolver(informers informers.SharedInformerFactory, own string) (*Resolver, error) {
	u, err := url.Parse(own)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the API's own Service: %w", err)
	}
	r := &Resolver{services: informers.Core().V1().Services().Lister(), own: u}
	if o.EnableAggregatorRouting {
		if r.slices, err = proxy.NewEndpointSliceIndexerGetter(informers.Discovery().V1().EndpointSlices()); err != nil {
			return nil, fmt.Errorf("cannot follow the endpoints of Services: %w", err)
		}
	}
	return r, nil
}

// ResolveEndpoint implements the ServiceResolver of webhooks and of the
// aggregator.
func (r *Resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	if namespace == "default" && name == "kubernetes" && port == 443 {
		return r.own, nil
	}
	if r.slices != nil {
		return proxy.ResolveEndpoint(r.services, r.slices, namespace, name, port)
	}
	return proxy.ResolveCluster(r.services, namespace, name, port)
}
