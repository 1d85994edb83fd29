package extensions

import (
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
)

// registered implements serving.Registry: it knows the group versions of a CRD as
// soon as the CRD is there, which is before its names are accepted and before
// they are in the discovery document.
type registered struct {
	informer cache.SharedIndexInformer
	lister   listers.CustomResourceDefinitionLister
}

func newRegistered(crds informers.CustomResourceDefinitionInformer) registered {
	return registered{crds.Informer(), crds.Lister()}
}

// GroupVersions implements serving.Registry.
func (r registered) GroupVersions() []metav1.GroupVersion {
	crds, err := r.lister.List(labels.Everything())
	if err != nil {
		return nil // a lister over memory does not fail
	}
	var out []metav1.GroupVersion
	for _, crd := range crds {
		out = append(out, served(crd)...)
	}
	return out
}

// OnChange implements serving.Registry. A CRD changes some times for each time
// that it is served otherwise.
func (r registered) OnChange(f func()) error {
	_, err := r.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { f() },
		UpdateFunc: func(old, now any) {
			if !slices.Equal(served(old.(*v1.CustomResourceDefinition)), served(now.(*v1.CustomResourceDefinition))) {
				f()
			}
		},
		DeleteFunc: func(any) { f() },
	})
	return err
}

func served(crd *v1.CustomResourceDefinition) []metav1.GroupVersion {
	var out []metav1.GroupVersion
	for _, version := range crd.Spec.Versions {
		if version.Served {
			out = append(out, metav1.GroupVersion{Group: crd.Spec.Group, Version: version.Name})
		}
	}
	return out
}
