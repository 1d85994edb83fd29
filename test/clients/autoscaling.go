package clients

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"triptych.dev/triptych/test/harness"
)

// autoscaling grows a Deployment to what its pods use, which the autoscaler asks
// an aggregated API about, through the head.
func autoscaling(t *testing.T, w *world) {
	ns := w.namespace(t, "autoscaling")
	w.apply(t, workload("Deployment", "web", "  replicas: 2\n"), "-n", ns)
	w.field(t, ns, "deployment/web", ".status.readyReplicas", "2")
	w.apply(t, `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
`, "-n", ns)
	condition := func(kind string) string { return `.status.conditions[?(@.type=="` + kind + `")].` }
	w.field(t, ns, "hpa/web", condition("AbleToScale")+"status", "True")
	w.field(t, ns, "hpa/web", condition("ScalingActive")+"reason", "FailedGetResourceMetric")
	defer w.serveMetrics(t)()
	w.field(t, ns, "hpa/web", condition("ScalingActive")+"status", "True")
	w.field(t, ns, "deployment/web", ".status.readyReplicas", "5")
	w.field(t, ns, "hpa/web", ".status.currentMetrics[0].resource.current.averageUtilization", "100")
	w.Kubectl(t, "top", "pods", "-n", ns)
}

// serveMetrics serves metrics.k8s.io, where every pod uses 100m. A group that is
// registered and away holds up the deletion of every namespace, so that it has to
// be taken away in the end.
func (w *world) serveMetrics(t *testing.T) (end func()) {
	t.Helper()
	const namespace, name, host = "metrics", "metrics", "metrics.metrics.svc"
	ca := harness.Must(harness.NewCA("metrics-ca"))(t)
	pair := harness.Must(ca.Issue(harness.Leaf{CommonName: host, Hosts: []string{host}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))(t)
	server := httptest.NewUnstartedServer(&metrics{w.Clientset(t)})
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	w.apply(t, harness.ExternalService(namespace, name))
	api := harness.APIService{
		Group: "metrics.k8s.io", Version: "v1beta1", GroupPriority: 100, VersionPriority: 100,
		Namespace: namespace, Service: name, Port: server.Listener.Addr().(*net.TCPAddr).Port, CA: ca,
	}
	w.apply(t, api.Manifest())
	w.wait(t, "", "condition=Available", "apiservice/"+api.Name())
	return func() { w.Kubectl(t, "delete", "apiservice", api.Name()) }
}

// metrics is an aggregated API server that says what pods use.
type metrics struct{ client kubernetes.Interface }

func (m *metrics) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	const root = "/apis/metrics.k8s.io/v1beta1"
	rw.Header().Set("Content-Type", "application/json")
	if r.URL.Path == root {
		fmt.Fprint(rw, `{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1", "resources": [`+
			`{"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]}]}`)
		return
	}
	part := strings.Split(strings.TrimPrefix(r.URL.Path, root+"/"), "/")
	if len(part) != 3 || part[0] != "namespaces" || part[2] != "pods" {
		http.NotFound(rw, r)
		return
	}
	pods, err := m.client.CoreV1().Pods(part[1]).List(r.Context(), metav1.ListOptions{LabelSelector: r.URL.Query().Get("labelSelector")})
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	items := []any{}
	for _, pod := range pods.Items {
		items = append(items, map[string]any{
			"metadata":  map[string]any{"name": pod.Name, "namespace": pod.Namespace, "labels": pod.Labels},
			"timestamp": metav1.Now(), "window": "30s",
			"containers": []any{map[string]any{"name": "main", "usage": map[string]any{"cpu": "100m", "memory": "1Mi"}}},
		})
	}
	json.NewEncoder(rw).Encode(map[string]any{"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": map[string]any{}, "items": items})
}
