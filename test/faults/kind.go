package faults

import (
	"fmt"
	"net/http"
	"strings"
)

// kind is one resource under load, all alike but for who serves it.
type kind struct{ name, path, apiVersion, object string }

const gadgetGroup = "faults.example.com"

// Names of kinds by who serves them.
const (
	builtIn    = "core"
	custom     = "custom"
	aggregated = "aggregated"
)

var kinds = []kind{
	{builtIn, "/api/v1/namespaces/default/configmaps", "v1", "ConfigMap"},
	{custom, "/apis/" + gadgetGroup + "/v1/namespaces/default/gadgets", gadgetGroup + "/v1", "Gadget"},
	{aggregated, "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders", "wardle.example.com/v1alpha1", "Flunder"},
}

const (
	// valueKey is the annotation that says which write made a version.
	valueKey = "faults/value"
	roundKey = "faults-round"
	// sentinel is an object that is never deleted.
	sentinel = "always"
)

const gadgetCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.` + gadgetGroup + `}
spec:
  group: ` + gadgetGroup + `
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// request returns method, path, body and content type of op on a resource. rv is
// the resourceVersion that an update replaces.
func (k kind) request(op Op, rv uint64) (method, path, body, contentType string) {
	one := k.path + "/" + op.Name
	switch op.Verb {
	case Create:
		return http.MethodPost, k.path, k.body(op, ""), "application/json"
	case Update:
		return http.MethodPut, one, k.body(op, fmt.Sprint(rv)), "application/json"
	case Patch:
		return http.MethodPatch, one, fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d"}}}`, valueKey, op.Value), "application/merge-patch+json"
	case Delete:
		return http.MethodDelete, one, "", ""
	default:
		return http.MethodGet, one, "", ""
	}
}

func (k kind) body(op Op, rv string) string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"resourceVersion":%q,"labels":{%q:"%d"},"annotations":{%q:"%d"}}}`,
		k.apiVersion, k.object, op.Name, rv, roundKey, op.Round, valueKey, op.Value)
}

// groupPath is the discovery document of the kind's group version.
func (k kind) groupPath() string { return k.path[:strings.Index(k.path, "/namespaces/")] }
