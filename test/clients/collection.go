package clients

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"triptych.dev/triptych/test/harness"
)

// thing is an object of a kind that may own and be owned.
type thing struct {
	kind     schema.GroupVersionResource
	ns, name string
	uid      types.UID
}

func (o thing) String() string { return o.kind.Resource + "/" + o.name }

// forest makes and looks for things.
type forest struct{ dynamic.Interface }

func (f forest) of(kind schema.GroupVersionResource, ns string) dynamic.ResourceInterface {
	if clusterWide(kind) {
		return f.Resource(kind)
	}
	return f.Resource(kind).Namespace(ns)
}

// kinds are of core, of extensions and of the head.
var kinds = map[schema.GroupVersionResource]string{configMaps: "ConfigMap", widgets: "Widget", regions: "Region", apiServices: "APIService"}

// clusterWide kinds are not owned by what has a namespace.
func clusterWide(kind schema.GroupVersionResource) bool {
	return kind == regions || kind == apiServices
}

// make creates a thing. Each owner blocks on it when it is deleted in the
// foreground.
func (f forest) make(t *testing.T, kind schema.GroupVersionResource, ns, name string, owners ...thing) thing {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{}}
	if kind == apiServices {
		apiGroup := name + "." + group
		name = "v1." + apiGroup
		o.Object["spec"] = map[string]any{"group": apiGroup, "version": "v1", "groupPriorityMinimum": int64(1), "versionPriority": int64(1)}
	}
	o.SetGroupVersionKind(kind.GroupVersion().WithKind(kinds[kind]))
	o.SetName(name)
	var refs []metav1.OwnerReference
	for _, owner := range owners {
		yes := true
		refs = append(refs, metav1.OwnerReference{
			APIVersion: owner.kind.GroupVersion().String(), Kind: kinds[owner.kind], Name: owner.name, UID: owner.uid, BlockOwnerDeletion: &yes,
		})
	}
	o.SetOwnerReferences(refs)
	made := harness.Must(f.of(kind, ns).Create(t.Context(), o, metav1.CreateOptions{}))(t)
	return thing{kind, ns, name, made.GetUID()}
}

// hold adds a finalizer of the test or takes it away.
func (f forest) hold(t *testing.T, o thing, held bool) {
	t.Helper()
	patch := `{"metadata": {"finalizers": null}}`
	if held {
		patch = `{"metadata": {"finalizers": ["` + group + `/held"]}}`
	}
	harness.Must(f.of(o.kind, o.ns).Patch(t.Context(), o.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}))(t)
}

func (f forest) get(ctx context.Context, o thing) (*unstructured.Unstructured, error) {
	return f.of(o.kind, o.ns).Get(ctx, o.name, metav1.GetOptions{})
}

func (f forest) delete(t *testing.T, o thing, policy metav1.DeletionPropagation) {
	t.Helper()
	if err := f.of(o.kind, o.ns).Delete(t.Context(), o.name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.Fatal(err)
	}
}

func (f forest) gone(t *testing.T, things ...thing) {
	t.Helper()
	for _, o := range things {
		harness.Eventually(t, patience, o.String()+" is collected", func() error {
			left, err := f.get(t.Context(), o)
			switch {
			case errors.IsNotFound(err):
				return nil
			case err != nil:
				return err
			case left.GetUID() != o.uid:
				return nil
			}
			return fmt.Errorf("it is there: %v", left.Object["metadata"])
		})
	}
}

func (f forest) there(t *testing.T, things ...thing) {
	t.Helper()
	for _, o := range things {
		if left, err := f.get(t.Context(), o); err != nil || left.GetUID() != o.uid || left.GetDeletionTimestamp() != nil {
			t.Errorf("%s must be there: %v %v", o, err, left)
		}
	}
}

// tree makes an owner with dependents of every kind that may be, and theirs.
func (f forest) tree(t *testing.T, kind schema.GroupVersionResource, ns, name string) (owner thing, below []thing) {
	t.Helper()
	owner = f.make(t, kind, ns, name)
	for child := range kinds {
		if clusterWide(child) && !clusterWide(kind) {
			continue
		}
		c := f.make(t, child, ns, name+"-"+child.Resource, owner)
		below = append(below, c, f.make(t, configMaps, ns, name+"-"+child.Resource+"-1", c), f.make(t, widgets, ns, name+"-"+child.Resource+"-2", c))
		if clusterWide(child) {
			below = append(below, f.make(t, regions, ns, name+"-"+child.Resource+"-3", c), f.make(t, apiServices, ns, name+"-"+child.Resource+"-3", c))
		}
	}
	return owner, below
}

// collection deletes owners in every tier, with dependents in all and theirs in
// all, by every policy; and makes dependents of what never was.
func collection(t *testing.T, w *world) {
	ns := w.namespace(t, "collection")
	f := forest{w.Dynamic(t)}
	var all []thing
	for kind := range kinds {
		for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
			owner, below := f.tree(t, kind, ns, strings.ToLower("tree-"+kind.Resource+"-"+string(policy)))
			f.delete(t, owner, policy)
			all = append(all, append(below, owner)...)
		}
	}
	never := thing{widgets, ns, "never", "00000000-0000-0000-0000-000000000000"}
	all = append(all, f.make(t, configMaps, ns, "of-no-widget", never))
	never.kind = configMaps
	all = append(all, f.make(t, widgets, ns, "of-no-configmap", never))
	f.gone(t, all...)
	for kind := range kinds {
		f.orphan(t, kind, ns)
		f.held(t, kind, ns)
	}
}

// orphan keeps the dependents of an owner that goes, without their references.
func (f forest) orphan(t *testing.T, kind schema.GroupVersionResource, ns string) {
	t.Helper()
	owner, below := f.tree(t, kind, ns, "orphan-"+kind.Resource)
	f.delete(t, owner, metav1.DeletePropagationOrphan)
	f.gone(t, owner)
	f.there(t, below...)
	for _, o := range below {
		if refs := harness.Must(f.get(t.Context(), o))(t).GetOwnerReferences(); len(refs) > 0 && refs[0].UID == owner.uid {
			t.Errorf("%s still has its owner: %v", o, refs)
		}
	}
}

// held keeps an owner that is deleted in the foreground until a dependent with a
// finalizer has gone.
func (f forest) held(t *testing.T, kind schema.GroupVersionResource, ns string) {
	t.Helper()
	for _, child := range []schema.GroupVersionResource{configMaps, widgets} {
		owner := f.make(t, kind, ns, "holder-"+kind.Resource+"-"+child.Resource)
		dependent := f.make(t, child, ns, "held-by-"+kind.Resource, owner)
		f.hold(t, dependent, true)
		f.delete(t, owner, metav1.DeletePropagationForeground)
		harness.Eventually(t, patience, "the dependent is being deleted", func() error {
			o, err := f.get(t.Context(), dependent)
			if err == nil && o.GetDeletionTimestamp() == nil {
				err = fmt.Errorf("%s is not", dependent)
			}
			return err
		})
		if _, err := f.get(t.Context(), owner); err != nil {
			t.Errorf("%s has not waited for %s: %v", owner, dependent, err)
		}
		f.hold(t, dependent, false)
		f.gone(t, dependent, owner)
	}
}

// laterKind is a kind made after the controllers have started: it is collected,
// it owns, and it takes what it owns along when the CRD is deleted.
func laterKind(t *testing.T, w *world) {
	ns := w.namespace(t, "later")
	w.apply(t, crd("gizmos", "Gizmo", "Namespaced"))
	f := forest{w.Dynamic(t)}
	gizmos := schema.GroupVersionResource{Group: group, Version: "v1", Resource: "gizmos"}
	f.later(t, gizmos, "Gizmo", ns)
	w.Kubectl(t, "delete", "crd", "gizmos."+group, "--timeout=60s")
	harness.Eventually(t, patience, "what gizmos owned has gone", func() error {
		left, err := f.Resource(configMaps).Namespace(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "of=gizmo"})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d are left", len(left.Items))
		}
		return err
	})
}

func (f forest) later(t *testing.T, kind schema.GroupVersionResource, name, ns string) {
	t.Helper()
	object := func(apiVersion, kind, name string, owner *unstructured.Unstructured) *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		o.SetAPIVersion(apiVersion)
		o.SetKind(kind)
		o.SetName(name)
		o.SetLabels(map[string]string{"of": "gizmo"})
		if owner != nil {
			o.SetOwnerReferences([]metav1.OwnerReference{{
				APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(),
			}})
		}
		return o
	}
	custom, core := f.Resource(kind).Namespace(ns), f.Resource(configMaps).Namespace(ns)
	apiVersion := kind.GroupVersion().String()
	one := harness.Must(custom.Create(t.Context(), object(apiVersion, name, "one", nil), metav1.CreateOptions{}))(t)
	two := harness.Must(custom.Create(t.Context(), object(apiVersion, name, "two", nil), metav1.CreateOptions{}))(t)
	owned := harness.Must(core.Create(t.Context(), object("v1", "ConfigMap", "of-one", one), metav1.CreateOptions{}))(t)
	harness.Must(core.Create(t.Context(), object("v1", "ConfigMap", "of-two", two), metav1.CreateOptions{}))(t)
	back := harness.Must(custom.Create(t.Context(), object(apiVersion, name, "of-of-one", owned), metav1.CreateOptions{}))(t)
	if err := custom.Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.gone(t, thing{configMaps, ns, owned.GetName(), owned.GetUID()}, thing{kind, ns, back.GetName(), back.GetUID()})
	f.there(t, thing{kind, ns, "two", two.GetUID()})
}
