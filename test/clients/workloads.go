package clients

import (
	"fmt"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// workload is a manifest of a kind of apps/v1 whose pods are named like it.
func workload(kind, name, spec string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: %s
metadata: {name: %s}
spec:
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec: {containers: [{name: main, image: "none:1", ports: [{containerPort: 80}], resources: {requests: {cpu: 100m}}}]}
%s`, kind, name, spec)
}

// service is a manifest of a Service of the pods of a workload.
func service(name, spec string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {selector: {app: %[1]s}, ports: [{port: 80}]%s}\n", name, spec)
}

// deployment comes up with 50 pods, rolls over to a new image, and shrinks; its
// Service follows.
func deployment(t *testing.T, w *world) {
	ns := w.namespace(t, "deployment")
	w.apply(t, workload("Deployment", "web", "  replicas: 50\n")+"---\n"+service("web", ""), "-n", ns)
	w.field(t, ns, "deployment/web", ".status.readyReplicas", "50")
	w.endpoints(t, ns, "web", 50)
	w.Kubectl(t, "-n", ns, "set", "image", "deployment/web", "main=none:2")
	w.Kubectl(t, "-n", ns, "rollout", "status", "deployment/web", "--timeout="+patience.String())
	w.Kubectl(t, "-n", ns, "rollout", "undo", "deployment/web")
	w.Kubectl(t, "-n", ns, "rollout", "status", "deployment/web", "--timeout="+patience.String())
	w.Kubectl(t, "-n", ns, "scale", "deployment/web", "--replicas=5")
	w.field(t, ns, "deployment/web", ".status.replicas", "5")
	w.endpoints(t, ns, "web", 5)
}

// endpoints waits until the slices of a Service list that many ready pods.
func (w *world) endpoints(t *testing.T, ns, service string, want int) {
	t.Helper()
	slices := w.Clientset(t).DiscoveryV1().EndpointSlices(ns)
	harness.Eventually(t, patience, "endpoints", func() error {
		list, err := slices.List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
		if err != nil {
			return err
		}
		ready := 0
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if *e.Conditions.Ready {
					ready++
				}
			}
		}
		if ready != want {
			return fmt.Errorf("%d endpoints of %s are ready, want %d", ready, service, want)
		}
		return nil
	})
}

// sets put a pod on every node, and pods with names one after the other.
func sets(t *testing.T, w *world) {
	ns := w.namespace(t, "sets")
	w.apply(t, workload("DaemonSet", "agent", "")+"---\n"+
		workload("StatefulSet", "db", "  replicas: 3\n  serviceName: db\n")+"---\n"+service("db", ", clusterIP: None"), "-n", ns)
	w.field(t, ns, "daemonset/agent", ".status.numberReady", fmt.Sprint(nodes))
	w.field(t, ns, "statefulset/db", ".status.readyReplicas", "3")
	w.wait(t, ns, "condition=Ready", "pod/db-0", "pod/db-1", "pod/db-2")
	w.endpoints(t, ns, "db", 3)
	w.Kubectl(t, "-n", ns, "delete", "pod", "db-1")
	w.wait(t, ns, "create", "pod/db-1")
	w.field(t, ns, "statefulset/db", ".status.readyReplicas", "3")
}

// job is a manifest of a Job; more is added to its spec.
func job(name string, completions int, more string) string {
	return fmt.Sprintf("apiVersion: batch/v1\nkind: Job\nmetadata: {name: %s}\nspec: %s\n", name, jobSpec(completions, more))
}

func jobSpec(completions int, more string) string {
	const spec = "{template: {spec: {restartPolicy: Never, containers: [{name: main, image: none}]}}, completions: %d, parallelism: 5, %s}"
	return fmt.Sprintf(spec, completions, more)
}

// jobs run to their end, and one is started every minute.
func jobs(t *testing.T, w *world) {
	ns := w.namespace(t, "jobs")
	w.apply(t, job("batch", 20, "")+"---\n"+job("passing", 1, "ttlSecondsAfterFinished: 1")+"---\n"+
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: tick}\nspec: {schedule: '* * * * *', jobTemplate: {spec: "+jobSpec(1, "")+"}}\n",
		"-n", ns)
	w.wait(t, ns, "condition=Complete", "job/batch")
	w.field(t, ns, "job/batch", ".status.succeeded", "20")
	w.wait(t, ns, "delete", "job/passing")
	w.wait(t, ns, "jsonpath={.status.lastSuccessfulTime}", "cronjob/tick")
}
