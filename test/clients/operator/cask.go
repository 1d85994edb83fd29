package operator

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of casks.
var GroupVersion = schema.GroupVersion{Group: "operator.clients.example.com", Version: "v1"}

// Cask wants as many ConfigMaps as it has bottles.
type Cask struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              CaskSpec   `json:"spec,omitempty"`
	Status            CaskStatus `json:"status,omitempty"`
}

// CaskSpec is what is wanted.
type CaskSpec struct {
	Bottles int `json:"bottles,omitempty"`
}

// CaskStatus is what there is.
type CaskStatus struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	Bottles            int   `json:"bottles,omitempty"`
	// Surplus are bottles that nobody wanted: someone has filled them twice.
	Surplus int `json:"surplus,omitempty"`
}

// CaskList is a list of casks.
type CaskList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Cask `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (c *Cask) DeepCopyObject() runtime.Object {
	out := *c
	c.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *CaskList) DeepCopyObject() runtime.Object {
	out := *l
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]Cask, len(l.Items))
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*Cask)
	}
	return &out
}

// CRD is the definition of casks.
const CRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: casks.operator.clients.example.com}
spec:
  group: operator.clients.example.com
  scope: Namespaced
  names: {plural: casks, singular: cask, kind: Cask}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {bottles: {type: integer, minimum: 0}}}
          status:
            type: object
            properties: {observedGeneration: {type: integer}, bottles: {type: integer}, surplus: {type: integer}}
`
