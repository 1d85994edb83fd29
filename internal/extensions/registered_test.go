package extensions

import (
	"context"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

func gadgets(versions ...v1.CustomResourceDefinitionVersion) *v1.CustomResourceDefinition {
	return &v1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "gadgets.example.com"},
		Spec:       v1.CustomResourceDefinitionSpec{Group: "example.com", Versions: versions},
	}
}

// A CRD registers its served versions at once, whatever its conditions say, and
// changes of it that serve nothing else are not told.
func TestTheServedVersionsOfACRDAreRegisteredAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	r := newRegistered(factory.Apiextensions().V1().CustomResourceDefinitions())
	told := make(chan sets.Set[string], 100)
	if err := r.OnChange(func() {
		now := sets.New[string]()
		for _, gv := range r.GroupVersions() {
			now.Insert(gv.String())
		}
		told <- now
	}); err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	factory.WaitForCacheSync(ctx.Done())
	want := func(when string, groupVersions ...string) {
		t.Helper()
		select {
		case got := <-told:
			if !got.Equal(sets.New(groupVersions...)) {
				t.Errorf("%s: registered are %v, want %v", when, got, groupVersions)
			}
		case <-ctx.Done():
			t.Fatalf("%s: nothing was told", when)
		}
	}
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	serves, not := v1.CustomResourceDefinitionVersion{Name: "v1", Served: true}, v1.CustomResourceDefinitionVersion{Name: "v0"}
	must(crds.Create(ctx, gadgets(not, serves), metav1.CreateOptions{}))
	want("created", "example.com/v1")
	established := gadgets(not, serves)
	established.Status.Conditions = []v1.CustomResourceDefinitionCondition{{Type: v1.Established, Status: v1.ConditionTrue}}
	must(crds.Update(ctx, established, metav1.UpdateOptions{}))
	not.Served = true
	must(crds.Update(ctx, gadgets(not, serves), metav1.UpdateOptions{}))
	want("a version is added, after another change", "example.com/v0", "example.com/v1")
	must(nil, crds.Delete(ctx, "gadgets.example.com", metav1.DeleteOptions{}))
	want("deleted")
}
