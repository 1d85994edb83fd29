package spine

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// enclave is a cluster whose nodes are reached by SSH alone.
type enclave struct {
	*harness.Enclave
	cluster *harness.Cluster
	kubelet *harness.Kubelet
	// known is the file of host keys.
	known string
}

// fleetSize is how many nodes there is room for.
const fleetSize = 50

// newEnclave does what an operator does: asks for the key, prepares the nodes with
// it, and starts.
func newEnclave(t *testing.T, args ...string) *enclave {
	t.Helper()
	dir := harness.TempDir(t)
	authorized, errs, code := harness.Command(t.Context(), harness.Bin("supervisor"), "ssh-key", "--data-dir", dir)
	if code != 0 || !strings.HasPrefix(authorized, `restrict,port-forwarding,command="false" ssh-ed25519 `) {
		t.Fatalf("%d: %q %s", code, authorized, errs)
	}
	e := &enclave{Enclave: harness.StartEnclave(t, fleetSize, strings.TrimSpace(authorized)), known: harness.TempDir(t) + "/known_hosts"}
	e.know(t, 1)
	e.cluster = harness.Run(t, harness.Options{Dir: dir, Args: append([]string{"--ssh-user=root", "--ssh-known-hosts=" + e.known}, args...)})
	e.kubelet = harness.StartKubelet(t, e.cluster.CA(t))
	return e
}

// know writes the host keys of the first n nodes, and of that with an IPv6 address.
func (e *enclave) know(t *testing.T, n int) {
	t.Helper()
	var lines strings.Builder
	lines.WriteString(e.KnownHost(e.Node6()))
	for i := range n {
		lines.WriteString(e.KnownHost(e.Node(i)))
	}
	harness.WriteFile(t, e.known, []byte(lines.String()), 0o644)
}

// node makes the i-th node, with a pod of the same name, and returns it.
func (e *enclave) node(t *testing.T, i int) node {
	t.Helper()
	return e.nodeAt(t, fmt.Sprintf("far-%d", i), e.Node(i))
}

func (e *enclave) nodeAt(t *testing.T, name, address string) node {
	t.Helper()
	n := node{API: &e.cluster.API, Kubelet: e.kubelet, name: name}
	here := fmt.Sprintf("127.0.0.1:%d", e.kubelet.Port)
	e.Relay(t, net.JoinHostPort(address, strconv.Itoa(e.kubelet.Port)), here)
	e.kubelet.Host = address
	e.kubelet.RunPod(t, n.API, n.name)
	return n
}

// execs tells whether a command runs in the pod.
func (n node) answers(t *testing.T) error {
	out, errs, code := kubectl(t, n.API, "", "exec", n.name, "--", "echo", "here")
	if out != "here\n" || code != 0 {
		return fmt.Errorf("%q, exit code %d: %s", out, code, errs)
	}
	return nil
}

func TestNodesAreReachedThroughSSH(t *testing.T) {
	e := newEnclave(t)
	began := time.Now()
	n := e.node(t, 0)
	if err := n.answers(t); err != nil {
		t.Fatal(err)
	}
	t.Logf("the first exec ends %v after the node was added", time.Since(began).Round(time.Millisecond))
	for _, websockets := range []string{"true", "false"} {
		t.Run("websockets "+websockets, func(t *testing.T) {
			t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
			t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
			t.Run("exec", n.execs)
			t.Run("attach", n.attaches)
			t.Run("logs", n.logs)
			t.Run("port-forward", n.forwardsPorts)
		})
	}
	t.Run("proxy", e.proxies)
	t.Run("Services", e.reachesServices)
	t.Run("IPv6", e.reachesByIPv6)
	t.Run("what it costs", e.costs)
	t.Run("a wrong host key", e.distrustsStrangers)
	t.Run("nodes come and go", e.followsNodes)
	t.Run("sshd dies", e.survivesSSHD)
	t.Run("sshd hangs", e.isNotHeldUpByAHungSSHD)
	t.Run("metrics", e.isMeasured)
	t.Run("the key", e.keepsTheKey)
	t.Run("core dies", e.survivesCore)
}

// proxies to a node, and to a pod whose address no node has.
func (e *enclave) proxies(t *testing.T) {
	if got := e.cluster.Get(t, "/api/v1/nodes/far-0/proxy/hello"); got.Code != http.StatusOK || !strings.Contains(string(got.Body), "GET /hello") {
		t.Errorf("the node: %s", got)
	}
	target := harness.StartTarget(t, "127.0.0.1")
	e.Relay(t, "198.19.7.7:8080", fmt.Sprintf("127.0.0.1:%d", target.Port))
	e.cluster.Kubectl(t, "patch", "pod", "far-0", "--subresource=status", "--type=merge", "-p", `{"status": {"podIP": "198.19.7.7", "podIPs": [{"ip": "198.19.7.7"}]}}`)
	if got := e.cluster.Get(t, "/api/v1/namespaces/default/pods/far-0:8080/proxy/plain"); got.Code != http.StatusOK || string(got.Body) != "plain" {
		t.Errorf("the pod: %s", got)
	}
}

// reachesByIPv6 a node that has no other address.
func (e *enclave) reachesByIPv6(t *testing.T) {
	n := e.nodeAt(t, "far-by-ipv6", e.Node6())
	t.Run("exec", n.execs)
	t.Run("port-forward", n.forwardsPorts)
	if got := e.cluster.Get(t, "/api/v1/nodes/far-by-ipv6/proxy/hello"); got.Code != http.StatusOK || !strings.Contains(string(got.Body), "GET /hello") {
		t.Errorf("the node: %s", got)
	}
	e.cluster.Kubectl(t, "delete", "node", n.name)
}

// reachesServices holds that the head reaches an aggregated API server, and core and
// extensions a webhook, behind a cluster IP that only nodes reach.
func (e *enclave) reachesServices(t *testing.T) {
	api := &e.cluster.API
	hook := harness.StartWebhook(t, "far.default.svc")
	api.KubectlInput(t, `{apiVersion: v1, kind: Service, metadata: {name: far}, spec: {ports: [{port: 443}]}}`, "create", "-f", "-")
	ip := api.Kubectl(t, "get", "service", "far", "-o", "jsonpath={.spec.clusterIP}")
	api.KubectlInput(t, `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: far, labels: {kubernetes.io/service-name: far}},
		addressType: IPv4, ports: [{port: 443}], endpoints: [{addresses: [198.19.7.8]}]}`, "create", "-f", "-")
	e.Relay(t, ip+":443", fmt.Sprintf("127.0.0.1:%d", hook.Port))
	api.KubectlInput(t, fmt.Sprintf(`
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.far.example.com}
spec: {group: far.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 10, caBundle: %s, service: {namespace: default, name: far}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.ssh.example.com}
spec:
  group: ssh.example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: far}
webhooks:
- name: far.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  matchConditions: [{name: ours, expression: "object.metadata.name == 'denied'"}]
  clientConfig: {caBundle: %[1]s, service: {namespace: default, name: far, path: /deny}}
  rules: [{apiGroups: ["", ssh.example.com], apiVersions: [v1], resources: [configmaps, things], operations: [CREATE]}]
`, hook.Bundle()), "create", "-f", "-")
	api.Kubectl(t, "wait", "apiservice/v1.far.example.com", "--for=condition=Available", "--timeout=30s")
	api.Kubectl(t, "wait", "crd/things.ssh.example.com", "--for=condition=Established", "--timeout=30s")
	for kind, object := range map[string]string{
		"core": `{apiVersion: v1, kind: ConfigMap, metadata: {name: denied}}`, "extensions": `{apiVersion: ssh.example.com/v1, kind: Thing, metadata: {name: denied}}`,
	} {
		harness.Eventually(t, soon, kind+" asks the webhook", func() error {
			if _, err := api.TryKubectl(t, object, "create", "--dry-run=server", "-f", "-"); err == nil || !strings.Contains(err.Error(), "the webhook says no") {
				return fmt.Errorf("%v", err)
			}
			return nil
		})
	}
	api.Kubectl(t, "delete", "validatingwebhookconfiguration/far", "apiservice/v1.far.example.com", "crd/things.ssh.example.com")
}
