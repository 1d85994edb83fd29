package conformance

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// servers start what -server names, and return its API and the directory that
// holds its PKI.
var servers = map[string]func(t *testing.T, logs string) (*harness.API, string){
	"ours":  startOurs,
	"stock": startStock,
}

func startOurs(t *testing.T, _ string) (*harness.API, string) {
	c := harness.Run(t, harness.Options{})
	return &c.API, c.Dir
}

func startStock(t *testing.T, logs string) (*harness.API, string) {
	s := harness.RunStock(t)
	keepOutput(t, s.Process, filepath.Join(logs, "kube-apiserver.log"))
	return &s.API, s.Dir
}

// startControllers runs what upstream expects beside an API server. A node that
// no kubelet stands behind would be found dead and tainted, hence without the
// controller that does it.
func startControllers(t *testing.T, api *harness.API, dir, logs string) {
	controllers := harness.RunControllers(t, api, dir, "--controllers=*,-node-lifecycle-controller",
		// A test waits for the next round, which is after five minutes by default.
		"--resource-quota-sync-period=1m")
	keepOutput(t, controllers, filepath.Join(logs, "kube-controller-manager.log"))
	createNode(t, api)
}

// createNode makes a node that says it is ready. Some tests name one, and run
// nothing there.
func createNode(t *testing.T, api *harness.API) {
	t.Helper()
	nodes := api.Clientset(t).CoreV1().Nodes()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "paper"}}
	node = harness.Must(nodes.Create(t.Context(), node, metav1.CreateOptions{}))(t)
	// Every new node is tainted as not ready, whoever makes it, until the controller that is not there takes it away.
	node.Spec.Taints = nil
	node = harness.Must(nodes.Update(t.Context(), node, metav1.UpdateOptions{}))(t)
	node.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("4"),
		corev1.ResourceMemory: resource.MustParse("8Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	node.Status.Allocatable = node.Status.Capacity
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Pretended"}}
	harness.Must(nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{}))(t)
}

// keepOutput writes what a process printed to path if the test fails.
func keepOutput(t *testing.T, p *harness.Process, path string) {
	t.Cleanup(func() {
		if t.Failed() {
			os.WriteFile(path, []byte(p.Output.String()), 0o644)
		}
	})
}
