// Command generate writes which resources core stores, from core's own registries:
// it has each make its storage and notes where that is to be. It links them, which
// the supervisor and etcd do not.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
)

func main() {
	source, err := table()
	if err == nil {
		err = os.WriteFile(os.Args[1], source, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// beside are what core stores that are no resources.
var beside = map[string]string{
	"masterleases":     "the endpoints of the kubernetes Service",
	"peerserverleases": "where the peers of a server are",
	"ranges":           "which addresses and ports of Services are taken",
}

// table returns the Go source of the table.
func table() ([]byte, error) {
	stored, err := segments()
	if err != nil {
		return nil, fmt.Errorf("cannot find out what core stores: %w", err)
	}
	for name, why := range beside {
		stored[name] = append(stored[name], why)
	}
	out := &bytes.Buffer{}
	out.WriteString("// Code generated from the registries of core. DO NOT EDIT.\n\npackage keyspace\n\n" +
		"// builtIn are the first segments, below --etcd-prefix, of the keys of what core\n// stores, in their order.\nvar builtIn = []string{\n")
	names := make([]string, 0, len(stored))
	for name := range stored {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		slices.Sort(stored[name])
		fmt.Fprintf(out, "%q, // %s\n", name, strings.Join(slices.Compact(stored[name]), ", "))
	}
	out.WriteString("}\n")
	return format.Source(out.Bytes())
}

// recorder is asked where a resource is to be stored, and notes it.
type recorder struct {
	factory *serverstorage.DefaultStorageFactory
	stored  map[string][]string
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (r *recorder) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	prefix := r.factory.ResourcePrefix(resource)
	first, _, _ := strings.Cut(prefix, "/")
	r.stored[first] = append(r.stored[first], resource.String())
	config, err := r.factory.NewConfig(resource, nil)
	if err != nil {
		return generic.RESTOptions{}, err
	}
	return generic.RESTOptions{StorageConfig: config, Decorator: generic.UndecoratedStorage, ResourcePrefix: prefix}, nil
}

// segments returns the resources, in all versions there are, by the first segment of
// their keys.
func segments() (map[string][]string, error) {
	if err := utilfeature.DefaultMutableFeatureGate.Set("AllAlpha=true,AllBeta=true"); err != nil {
		return nil, err
	}
	all := serverstorage.NewResourceConfig()
	all.EnableVersions(legacyscheme.Scheme.PrioritizedVersionsAllGroups()...)
	config, r, err := newConfig(all)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config.ControlPlane.Generic.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	config.ControlPlane.VersionedInformers = informers.NewSharedInformerFactory(client, 0)
	providers, err := config.Complete().StorageProviders(client)
	if err != nil {
		return nil, err
	}
	for _, p := range providers {
		if _, err := p.NewRESTStorage(all, r); err != nil {
			return nil, fmt.Errorf("the storage of %q: %w", p.GroupName(), err)
		}
	}
	return r.stored, nil
}

// newConfig is enough of core to make its storage, which is never used.
func newConfig(all *serverstorage.ResourceConfig) (*controlplane.Config, *recorder, error) {
	generic := genericapiserver.NewConfig(legacyscheme.Codecs)
	generic.EffectiveVersion = compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor("kube")
	generic.LoopbackClientConfig = &restclient.Config{ContentConfig: restclient.ContentConfig{NegotiatedSerializer: legacyscheme.Codecs}}
	generic.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	generic.PublicAddress = net.IPv4(192, 0, 2, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	go grpc.NewServer().Serve(listener) // an etcd that can be connected to, and no more
	generic.SecureServing = &genericapiserver.SecureServingInfo{Listener: listener}

	backend := storagebackend.NewDefaultConfig("/registry", nil)
	backend.Transport.ServerList = []string{"http://" + listener.Addr().String()}
	storage := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(generic.EffectiveVersion)
	storage.APIResourceConfig = all
	etcd := options.NewOptions().Etcd
	etcd.StorageConfig = *backend
	factory, err := storage.Complete(etcd).New()
	if err != nil {
		return nil, nil, err
	}
	r := &recorder{factory: factory, stored: map[string][]string{}}
	generic.RESTOptionsGetter = r
	return &controlplane.Config{
		ControlPlane: controlplaneapiserver.Config{
			Generic: generic,
			Extra: controlplaneapiserver.Extra{
				APIResourceConfigSource: all, StorageFactory: factory, ProxyTransport: &http.Transport{},
			},
		},
		Extra: controlplane.Extra{
			APIServerServicePort: 443, MasterCount: 1,
			KubeletClientConfig:    kubeletclient.KubeletClientConfig{Port: 10250},
			EndpointReconcilerType: reconcilers.NoneEndpointReconcilerType,
			ServiceIPRange:         net.IPNet{IP: net.IPv4(192, 0, 2, 0).To4(), Mask: net.CIDRMask(24, 32)},
		},
	}, r, nil
}
