package serving

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/tier"
)

// longRunning is kube-apiserver's list of requests that no timeout ends.
var longRunning = filters.BasicLongRunningRequestCheck(
	sets.NewString("watch", "proxy"),
	sets.NewString("attach", "exec", "proxy", "log", "portforward"),
)

// LongRunning tells which requests no timeout ends. Every tier that a request
// passes must agree on it, so it is kube-apiserver's list for all, and profiles
// of a tier that are asked for by way of the head.
func LongRunning(r *http.Request, info *request.RequestInfo) bool {
	if of, ok := strings.CutPrefix(info.Path, "/debug/tiers/"); ok {
		_, path, _ := strings.Cut(of, "/")
		return strings.HasPrefix(path, "debug/pprof/")
	}
	return longRunning(r, info)
}

// Kind is what distinguishes the API server of one tier from another's.
type Kind struct {
	// Scheme and Codecs decode the types the tier serves.
	Scheme *runtime.Scheme
	Codecs serializer.CodecFactory
	// Naming are all schemes whose types OpenAPI names.
	Naming []*runtime.Scheme
	// OpenAPI are the definitions of the types the tier serves.
	OpenAPI openapicommon.GetOpenAPIDefinitions
	// Resources are enabled unless --runtime-config says otherwise.
	Resources *serverstorage.ResourceConfig
}

// Base is a generic configuration without storage, authentication,
// authorization, audit and admission, in which the tiers differ.
type Base struct {
	Config *genericapiserver.Config
	// Client speaks to core as the tier itself.
	Client *kubernetes.Clientset
	// Informers are fed by core.
	Informers informers.SharedInformerFactory
	// Rights tells how current what the informers know of rights is.
	Rights *rights.Feed
}

// Build takes the options of a tier to its generic configuration. The options
// must be valid and activated. The clients reach nobody until core is prepared.
func Build(p *process.Process, o *Options, kind Kind) (*Base, error) {
	if err := advertise(p, o); err != nil {
		return nil, err
	}
	base, err := newBase(p, kind)
	if err != nil {
		return nil, err
	}
	p.Handshake.SetFlags(base.Config.Flagz.GetFlagz())
	c := base.Config
	addOpenAPI(c, kind)
	apply := []func() error{
		func() error { return o.ServerRun.ApplyTo(c) },
		func() error { return o.Features.ApplyTo(c, base.Client, base.Informers) },
		func() error { return o.APIEnablement.ApplyTo(c, kind.Resources, kind.Scheme) },
		func() error { return applyEgress(o.Egress, c) },
		func() error { return applyTraces(p, o.Traces, c) },
	}
	for _, step := range apply {
		if err := step(); err != nil {
			return nil, err
		}
	}
	o.Etcd = leaveCompaction(p.Wiring, o.Etcd)
	if c.EgressSelector != nil {
		o.Etcd.StorageConfig.Transport.EgressLookup = c.EgressSelector.Lookup
	}
	o.Etcd.StorageConfig.Transport.TracerProvider = c.TracerProvider
	return base, nil
}

func newBase(p *process.Process, kind Kind) (*Base, error) {
	codecs := kind.Codecs
	if utilfeature.DefaultFeatureGate.Enabled(features.CBORServingAndStorage) {
		codecs = serializer.NewCodecFactory(kind.Scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
	}
	c := genericapiserver.NewConfig(codecs)
	c.MergedResourceConfig = kind.Resources
	var err error
	if c.LoopbackClientConfig, err = p.ClientConfig(p.Wiring.Tier); err != nil {
		return nil, err
	}
	c.SecureServing = unserved(p.Wiring.PublicAddress)
	c.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	c.LongRunningFunc = LongRunning
	c.Flagz = shownFlags{p.Flags}

	feed := rights.NewFeed()
	toCore, err := p.ClientConfig(tier.Core)
	if err != nil {
		return nil, err
	}
	toCore.Wrap(feed.Wrap)
	client, err := kubernetes.NewForConfig(toCore)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for %s: %w", tier.Core, err)
	}
	name, err := cache.NewInformerName("kube-apiserver")
	if err != nil {
		return nil, err
	}
	return &Base{
		Config: c,
		Client: client,
		Rights: feed,
		Informers: informers.NewSharedInformerFactoryWithOptions(client, 10*time.Minute,
			informers.WithTransform(withoutManagedFields), informers.WithInformerName(name)),
	}, nil
}

// withoutManagedFields keeps what no server-side reader looks at out of the
// informers' memory.
func withoutManagedFields(obj any) (any, error) {
	if o, err := meta.Accessor(obj); err == nil && o.GetManagedFields() != nil {
		o.SetManagedFields(nil)
	}
	return obj, nil
}

func addOpenAPI(c *genericapiserver.Config, kind Kind) {
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(kind.OpenAPI)
	namer := openapinamer.NewDefinitionNamer(kind.Naming...)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	c.OpenAPIConfig.Info.Title = "Kubernetes"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	c.OpenAPIV3Config.Info.Title = "Kubernetes"
	// Clients show tokens to the head; the documents of all tiers say so.
	c.OpenAPIConfig.SecurityDefinitions = &spec.SecurityDefinitions{"BearerToken": {SecuritySchemeProps: spec.SecuritySchemeProps{
		Type: "apiKey", Name: "authorization", In: "header", Description: bearerToken,
	}}}
	c.OpenAPIV3Config.SecuritySchemes = spec3.SecuritySchemes{"BearerToken": {SecuritySchemeProps: spec3.SecuritySchemeProps{
		Type: "apiKey", Name: "authorization", In: "header", Description: bearerToken,
	}}}
}

const bearerToken = "Bearer Token authentication"

// advertise has every tier name the head's address as the API server's: it
// stands in discovery documents and in the kubernetes Service.
func advertise(p *process.Process, o *Options) error {
	host, _, err := net.SplitHostPort(p.Wiring.PublicAddress)
	if err != nil {
		return err
	}
	if o.ServerRun.AdvertiseAddress == nil {
		if o.ServerRun.AdvertiseAddress = net.ParseIP(host); o.ServerRun.AdvertiseAddress == nil {
			return fmt.Errorf("publicAddress %q is no IP address: set --advertise-address", host)
		}
	}
	if o.ServerRun.ExternalHost == "" {
		o.ServerRun.ExternalHost = o.ServerRun.AdvertiseAddress.String()
	}
	return nil
}

// unserved is the serving information of a tier whose requests come over the
// hop: upstream reads the public port from the listener's address, and serves
// on it a listener that never accepts anything.
func unserved(publicAddress string) *genericapiserver.SecureServingInfo {
	return &genericapiserver.SecureServingInfo{Listener: &silentListener{address: publicAddress, closed: make(chan struct{})}}
}

type silentListener struct {
	address string
	close   sync.Once
	closed  chan struct{}
}

func (l *silentListener) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *silentListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

func (l *silentListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.address)) // the wiring's, validated
}
