package authorization

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/tools/cache"
)

// withoutNodes has the Node authorizer see none of what its graph is made of:
// nodes, pods and what they mount. It then has an opinion where its fixed rules
// have one, and names of objects are nobody's. Everything else is told as ever.
type withoutNodes struct {
	informers.SharedInformerFactory
}

// Core implements informers.SharedInformerFactory.
func (withoutNodes) Core() core.Interface { return core.New(nothing{}, "", nil) }

// Storage implements informers.SharedInformerFactory.
func (withoutNodes) Storage() storage.Interface { return storage.New(nothing{}, "", nil) }

// Resource implements informers.SharedInformerFactory.
func (withoutNodes) Resource() resource.Interface { return resource.New(nothing{}, "", nil) }

// Certificates implements informers.SharedInformerFactory.
func (withoutNodes) Certificates() certificates.Interface {
	return certificates.New(nothing{}, "", nil)
}

// nothing is a factory whose informers are complete and empty.
type nothing struct{}

// Start implements internalinterfaces.SharedInformerFactory.
func (nothing) Start(<-chan struct{}) {}

// InformerName implements internalinterfaces.SharedInformerFactory.
func (nothing) InformerName() *cache.InformerName { return nil }

// InformerFor implements internalinterfaces.SharedInformerFactory.
func (nothing) InformerFor(runtime.Object, internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	return empty{}
}

// empty takes handlers and calls none. Nobody asks it for more.
type empty struct{ cache.SharedIndexInformer }

// AddEventHandler implements cache.SharedInformer.
func (empty) AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return told{}, nil
}

// told is the registration of a handler that has heard all there is.
type told struct {
	cache.ResourceEventHandlerRegistration
}

// HasSynced implements cache.ResourceEventHandlerRegistration.
func (told) HasSynced() bool { return true }
