package deploy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/test/harness"
)

// installation is what the chart's tests install: least is what a user has to give.
const (
	installation = "paris"
	space        = "hosted"
)

var least = []string{"image.repository=registry.example/triptych", "pki.secretName=pki", "etcd.servers={https://etcd-0.etcd:2379,https://etcd-1.etcd:2379}"}

// helm runs a subcommand on the chart, with --set for each of values.
func helm(t *testing.T, subcommand []string, values ...string) (out string, err error) {
	t.Helper()
	args := append(subcommand, deployed("helm", "triptych"), "--namespace", space)
	for _, v := range values {
		args = append(args, "--set-json", quoted(v))
	}
	return command(t, harness.Bin("tools/helm"), args...)
}

// quoted makes PATH=JSON of PATH=VALUE, where VALUE is no JSON.
func quoted(value string) string {
	path, text, _ := strings.Cut(value, "=")
	if list, ok := strings.CutPrefix(text, "{"); ok && !json.Valid([]byte(text)) {
		return path + `=["` + strings.ReplaceAll(strings.TrimSuffix(list, "}"), ",", `","`) + `"]`
	}
	if json.Valid([]byte(text)) {
		return value
	}
	return path + "=" + strconv.Quote(text)
}

// rendered is what the chart makes of values, beside the least.
func rendered(t *testing.T, values ...string) string {
	t.Helper()
	out, err := helm(t, []string{"template", installation}, append(append([]string{}, least...), values...)...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	return out
}

// deployments are those among what the chart makes, by tier.
func deployments(t *testing.T, manifests string) map[string]appsv1.Deployment {
	t.Helper()
	found := map[string]appsv1.Deployment{}
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		var d appsv1.Deployment
		if err == nil {
			err = yaml.Unmarshal(document, &d)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if d.Kind == "Deployment" {
			found[d.Labels["app.kubernetes.io/component"]] = d
		}
	}
}

// everyValue sets each value of the chart to something else than it is.
var everyValue = []string{
	"image.tag=v2", "image.pullPolicy=Always", "image.supervisor=/bin/supervisor", `imagePullSecrets=[{"name": "pull"}]`,
	"etcd.secretName=etcd", "securePort=8443", "service.type=LoadBalancer", `service.annotations.example\.com/a=b`, "serving.secretName=serving",
	"externalHostname=api.example.com", "advertiseAddress=192.0.2.7", "goawayChance=0", "shutdownDelaySeconds=20", "terminationGracePeriodSeconds=200",
	"flags={--authorization-mode=RBAC}", "tiers.core.flags={--tier-flag=core=v=4}", "tiers.core.autoscaling.enabled=false", "tiers.core.replicas=3",
	"tiers.extensions.autoscaling.maxReplicas=20", `tiers.aggregator.resources.limits={"cpu": "2", "memory": "2Gi"}`, "user=1000",
	`networkPolicy.clients=[{"ipBlock": {"cidr": "192.0.2.0/24"}}]`, `nodeSelector={"disk": "fast"}`, `tolerations=[{"key": "control-plane", "operator": "Exists"}]`,
	`affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}]}}`,
	"priorityClassName=system-cluster-critical",
}

// What the chart makes, of the least and of every value, is taken by the API as it is, and its pods
// by a namespace whose pods are restricted.
func TestWhatTheChartMakesIsTaken(t *testing.T) {
	c := harness.Shared(t)
	c.Kubectl(t, "create", "namespace", space)
	c.Kubectl(t, "label", "namespace", space, "pod-security.kubernetes.io/enforce=restricted")
	c.Kubectl(t, "-n", space, "create", "serviceaccount", "default")
	for name, values := range map[string][]string{
		"least": nil, "every value": everyValue,
		"no autoscaling, no network policy": {"tiers.aggregator.autoscaling.enabled=false", "tiers.core.autoscaling.enabled=false", "tiers.extensions.autoscaling.enabled=false", "networkPolicy.enabled=false"},
		"a digest":                          {"image.digest=sha256:" + strings.Repeat("0", 64)},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := helm(t, []string{"lint", "--strict"}, append(append([]string{}, least...), values...)...); err != nil {
				t.Errorf("helm lint: %v\n%s", err, out)
			}
			manifests := rendered(t, values...)
			taken := c.KubectlInput(t, manifests, "-n", space, "apply", "--server-side", "--dry-run=server", "-f", "-")
			if got, want := strings.Count(taken, "\n"), strings.Count("\n"+manifests, "\nkind: "); got != want {
				t.Errorf("%d of %d objects are taken:\n%s", got, want, taken)
			}
			pods := &bytes.Buffer{}
			for tier, d := range deployments(t, manifests) {
				pod := corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
				pod.Name = tier
				fmt.Fprintf(pods, "---\n%s", harness.Must(yaml.Marshal(pod))(t))
			}
			if taken := c.KubectlInput(t, pods.String(), "-n", space, "create", "--dry-run=server", "-f", "-"); strings.Count(taken, "\n") != 3 {
				t.Errorf("pods that are taken:\n%s", taken)
			}
		})
	}
}

// A mistake in the values is one error that says where.
func TestMistakenValuesOfTheChart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ value, want string }{
		{"image.repository=", "image.repository: give the image"},
		{"pki.secretName=", "pki.secretName: give the Secret"},
		{"etcd.servers=[]", "etcd.servers: give the URLs"},
		{"etcd.servers={etcd:2379}", "/etcd/servers/0"},
		{"image.digest=sha256:0", "/image/digest"},
		{"securePort=443", "/securePort"},
		{"securePort=7001", "securePort 7001: 7000 to 7031 are for"},
		{"service.type=External", "/service/type"},
		{"goawayChance=0.5", "/goawayChance"},
		{"flags={v=4}", "/flags/0"},
		{"user=0", "/user"},
		{"terminationGracePeriodSeconds=30", "terminationGracePeriodSeconds 30 is less than the 115 s"},
		{"shutdownDelaySeconds=60", "less than the 165 s"},
		{"tiers.core.autoscaling.minReplicas=9", "tiers.core.autoscaling: minReplicas 9 is more than maxReplicas 8"},
		{"tiers.core.autoscaling.cpu=70", "'cpu'"},
		{`tiers.core.resources={"requests": null}`, "tiers.core.resources.requests.cpu: give it"},
		{"tiers.kubelet.replicas=1", "'kubelet'"},
		{"tires.core.replicas=1", "'tires'"},
	} {
		out, err := helm(t, []string{"template", installation}, append(append([]string{}, least...), c.value)...)
		if err == nil || strings.Count(out, "Error: ")+strings.Count(out, "\n- at ") > 2 || !strings.Contains(out, c.want) {
			t.Errorf("with %s helm says, where %q was wanted:\n%s", c.value, c.want, out)
		}
	}
}

// The chart's kubernetes is ours.
func TestTheChartNamesItsKubernetes(t *testing.T) {
	t.Parallel()
	var chart struct{ AppVersion string }
	if err := yaml.Unmarshal([]byte(read(t, deployed("helm", "triptych", "Chart.yaml"))), &chart); err != nil {
		t.Fatal(err)
	}
	if mod := read(t, filepath.Join(harness.Root(), "go.mod")); !strings.Contains(mod, "k8s.io/kubernetes "+chart.AppVersion+"\n") {
		t.Errorf("the chart's appVersion is %s, and go.mod has another", chart.AppVersion)
	}
}
