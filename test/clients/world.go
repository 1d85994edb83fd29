package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"triptych.dev/triptych/test/harness"
)

// patience bounds what controllers do in their own time. Those that watch every
// kind look for new kinds every 30 seconds.
const patience = 2 * time.Minute

// nodes is how many nodes kwok pretends to be.
const nodes = 5

// world is an API server, ours or stock, and everything that runs beside it.
type world struct {
	*harness.API
	// dir holds its PKI.
	dir string
	// cluster is nil for stock.
	cluster *harness.Cluster
	// programs are those of ours, of which scenarios may break one.
	programs *harness.Programs
	// beside are the processes by name.
	beside map[string]*harness.Process
}

// startWorld starts the server, the kinds of the scenarios, and only then the
// clients, so that these know them from the beginning.
func startWorld(t *testing.T, server, logs string) *world {
	t.Helper()
	w := &world{beside: map[string]*harness.Process{}}
	switch server {
	case "ours":
		w.programs = harness.PrivateBinDir(t)
		w.cluster = harness.Run(t, harness.Options{BinDir: w.programs.Dir})
		w.API, w.dir = &w.cluster.API, w.cluster.Dir
	case "stock":
		s := harness.RunStock(t)
		w.API, w.dir = &s.API, s.Dir
		w.beside["kube-apiserver"] = s.Process
	default:
		t.Fatalf("-server=%s: say ours, stock or both", server)
	}
	w.apply(t, crd("widgets", "Widget", "Namespaced"))
	w.apply(t, crd("regions", "Region", "Cluster"))
	w.beside["kube-scheduler"] = harness.RunScheduler(t, w.API, w.dir)
	w.beside["kwok"] = harness.RunNodes(t, w.API, "testdata/stages.yaml")
	w.startControllers(t)
	t.Cleanup(func() {
		for name, p := range w.beside {
			os.WriteFile(filepath.Join(logs, name+".log"), []byte(p.Output.String()), 0o644)
		}
	})
	for i := range nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}}
		harness.Must(w.Clientset(t).CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}))(t)
	}
	w.Kubectl(t, "wait", "--for=condition=Ready", "--timeout=2m", "nodes", "--all")
	return w
}

const controllers = "kube-controller-manager"

// startControllers starts the controller manager, for the life of t.
func (w *world) startControllers(t *testing.T) {
	t.Helper()
	w.beside[controllers] = harness.RunControllers(t, w.API, w.dir,
		"--horizontal-pod-autoscaler-sync-period=2s", "--horizontal-pod-autoscaler-initial-readiness-delay=1s")
}

// group is that of every kind of the scenarios.
const group = "clients.example.com"

var (
	widgets     = schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"}
	regions     = schema.GroupVersionResource{Group: group, Version: "v1", Resource: "regions"}
	apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	configMaps  = corev1.SchemeGroupVersion.WithResource("configmaps")
)

// crd is a CustomResourceDefinition of a kind with a size and a status.
func crd(plural, kind, scope string) string {
	return strings.NewReplacer("PLURAL", plural, "KIND", kind, "SCOPE", scope, "GROUP", group).Replace(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: PLURAL.GROUP}
spec:
  group: GROUP
  scope: SCOPE
  names: {plural: PLURAL, kind: KIND}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, minimum: 0}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`)
}

// apply applies manifests, and waits until a CRD among them is established.
func (w *world) apply(t *testing.T, manifest string, args ...string) {
	t.Helper()
	w.KubectlInput(t, manifest, append([]string{"apply", "-f", "-"}, args...)...)
	if strings.Contains(manifest, "kind: CustomResourceDefinition\n") {
		w.KubectlInput(t, manifest, "wait", "--for=condition=Established", "--timeout=30s", "-f", "-")
	}
}

// namespace makes one, waits for what controllers put into it, and returns its
// name.
func (w *world) namespace(t *testing.T, name string) string {
	t.Helper()
	w.Kubectl(t, "create", "namespace", name)
	w.wait(t, name, "create", "serviceaccount/default")
	return name
}

// wait is kubectl wait, which watches.
func (w *world) wait(t *testing.T, namespace, what string, objects ...string) {
	t.Helper()
	args := []string{"-n", namespace, "wait", "--for=" + what, "--timeout=" + patience.String()}
	if out, err := w.TryKubectl(t, "", append(args, objects...)...); err != nil {
		seen, _ := w.TryKubectl(t, "", append([]string{"-n", namespace, "get", "-o", "yaml"}, objects...)...)
		t.Fatalf("%v\n%s\n%s", err, out, seen)
	}
}

// field waits until a field of an object has a value: kubectl wait on a JSON path.
func (w *world) field(t *testing.T, namespace, object, path, value string) {
	t.Helper()
	w.wait(t, namespace, "jsonpath={"+path+"}="+value, object)
}
