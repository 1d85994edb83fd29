package clients

import (
	"fmt"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// eviction is refused with 429 as long as the budget allows none, and goes
// through as often as it allows.
func eviction(t *testing.T, w *world) {
	ns := w.namespace(t, "eviction")
	const budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n" +
		"spec: {minAvailable: %d, selector: {matchLabels: {app: web}}}\n"
	w.apply(t, workload("Deployment", "web", "  replicas: 3\n")+"---\n"+fmt.Sprintf(budget, 3), "-n", ns)
	w.field(t, ns, "pdb/web", ".status.currentHealthy", "3")
	w.field(t, ns, "pdb/web", ".status.disruptionsAllowed", "0")
	client := w.Clientset(t)
	pods := harness.Must(client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{}))(t).Items
	evict := func(pod string) error {
		return client.PolicyV1().Evictions(ns).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: ns}})
	}
	if err := evict(pods[0].Name); !errors.IsTooManyRequests(err) || !errors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Fatalf("an eviction that the budget forbids: %v", err)
	}
	w.apply(t, fmt.Sprintf(budget, 2), "-n", ns)
	w.field(t, ns, "pdb/web", ".status.disruptionsAllowed", "1")
	if err := evict(pods[0].Name); err != nil {
		t.Fatal(err)
	}
	w.wait(t, ns, "delete", "pod/"+pods[0].Name)
	// Its successor makes the budget whole again.
	w.field(t, ns, "pdb/web", ".status.disruptionsAllowed", "1")
	// So that drain need not know of the budget: it tries again until it may.
	node := harness.Must(client.CoreV1().Pods(ns).Get(t.Context(), pods[1].Name, metav1.GetOptions{}))(t).Spec.NodeName
	w.Kubectl(t, "drain", node, "--ignore-daemonsets", "--force", "--pod-selector=app=web", "--timeout="+patience.String())
	w.Kubectl(t, "uncordon", node)
	w.field(t, ns, "deployment/web", ".status.readyReplicas", "3")
}

// quota bounds custom resources and pods, counts them and gives back what goes.
func quota(t *testing.T, w *world) {
	ns := w.namespace(t, "quota")
	w.apply(t, "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\n"+
		"spec: {hard: {count/widgets."+group+": 2, count/configmaps: 5, pods: 3, requests.cpu: 250m}}\n", "-n", ns)
	used := func(what, count string) {
		t.Helper()
		w.field(t, ns, "resourcequota/few", `.status.used.`+what, count)
	}
	const counted = `count/widgets\.clients\.example\.com`
	used(counted, "0")
	f := forest{w.Dynamic(t)}
	one, _ := f.make(t, widgets, ns, "one"), f.make(t, widgets, ns, "two")
	widget := func(name string) error {
		_, err := w.TryKubectl(t, fmt.Sprintf("apiVersion: %s/v1\nkind: Widget\nmetadata: {name: %s}\n", group, name), "-n", ns, "create", "-f", "-")
		return err
	}
	used(counted, "2")
	if err := widget("three"); err == nil {
		t.Fatal("a third widget is created against the quota")
	}
	f.delete(t, one, metav1.DeletePropagationBackground)
	used(counted, "1")
	if err := widget("three"); err != nil {
		t.Fatal(err)
	}
	used(counted, "2")
	// Two pods of 100m fit into 250m, and a Deployment says why no more.
	w.apply(t, workload("Deployment", "web", "  replicas: 5\n"), "-n", ns)
	w.wait(t, ns, "condition=ReplicaFailure", "deployment/web")
	w.field(t, ns, "deployment/web", ".status.readyReplicas", "2")
	used("pods", "2")
	used(`requests\.cpu`, "200m")
	w.Kubectl(t, "-n", ns, "delete", "deployment", "web")
	used("pods", "0")
}

// namespaceDeletion takes everything along that is in it, in every tier, and
// waits for what holds on.
func namespaceDeletion(t *testing.T, w *world) {
	ns := w.namespace(t, "doomed")
	f := forest{w.Dynamic(t)}
	for i := range 30 {
		f.make(t, widgets, ns, fmt.Sprint("widget-", i))
		f.make(t, configMaps, ns, fmt.Sprint("config-", i))
	}
	w.apply(t, workload("Deployment", "web", "  replicas: 10\n")+"---\n"+service("web", ""), "-n", ns)
	w.field(t, ns, "deployment/web", ".status.readyReplicas", "10")
	held := f.make(t, widgets, ns, "held")
	f.hold(t, held, true)
	w.Kubectl(t, "delete", "namespace", ns, "--wait=false")
	w.field(t, "", "namespace/"+ns, `.status.conditions[?(@.type=="NamespaceFinalizersRemaining")].status`, "True")
	if _, err := f.get(t.Context(), held); err != nil {
		t.Errorf("the widget with a finalizer: %v", err)
	}
	f.hold(t, held, false)
	w.wait(t, "", "delete", "namespace/"+ns)
	for _, kind := range []string{"widgets", "configmaps", "pods", "services", "endpointslices", "deployments"} {
		if left := w.Kubectl(t, "-n", ns, "get", kind, "-o", "name"); left != "" {
			t.Errorf("the namespace has gone, and left %s", left)
		}
	}
	// Its name is free, and empty.
	w.namespace(t, ns)
	f.make(t, widgets, ns, "held")
}
