package spine

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

// egressSide is an API, ours or stock, whose proxies alone know where the servers
// are that it calls.
type egressSide struct {
	*harness.API
	*harness.Egress
	cluster   *harness.Cluster // nil of stock
	name, dir string
	node      node
	proxied   *proxied
	hook      *harness.Webhook
	backend   *harness.Backend
	sink      *harness.AuditSink
	collector *harness.Collector
	// wanted is which program asks for which address.
	wanted map[harness.Dial]bool
	// args are flags of both, etcd those of stores.
	args []string
}

const (
	allTiers = "core extensions aggregator"
	// hookedService is the cluster IP of the Service that leads to what the last
	// number says, hookedHost an address that stands in a URL.
	hookedService, hookedHost = "10.96.7.", "198.51.100."
)

// route has address lead to "to" for what is dialed as the egress type, and says that
// tiers will ask for it. It returns what an API server has to be told.
func (s *egressSide) route(egress, address, to, tiers string) string {
	given := s.Route(egress, address, to)
	if given != address {
		return given
	}
	for _, by := range strings.Fields(tiers) {
		if s.name == "stock" {
			by = "kube-apiserver"
		}
		if s.Via(egress) == harness.Mutual {
			by = harness.EgressClient
		}
		s.wanted[harness.Dial{Egress: egress, By: by, Target: address}] = true
	}
	return given
}

// kubeconfig routes the server of a webhook's file.
func (s *egressSide) kubeconfig(t *testing.T, file, address, tiers string) {
	t.Helper()
	config := harness.Must(clientcmd.LoadFromFile(file))(t)
	for _, cluster := range config.Clusters {
		server := harness.Must(url.Parse(cluster.Server))(t)
		server.Host = s.route("controlplane", address, server.Host, tiers)
		cluster.Server = server.String()
		if server.Scheme == "https" {
			cluster.TLSServerName = "127.0.0.1"
		}
	}
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
}

// newEgressSide starts everything but the API, and no proxy yet.
func newEgressSide(t *testing.T, name string, via map[string]harness.Via) *egressSide {
	t.Helper()
	s := &egressSide{name: name, Egress: harness.NewEgress(t, via), wanted: map[harness.Dial]bool{}}
	files := filepath.Dir(s.ConfigFile)
	authorizer := harness.StartAuthorizer(t)
	s.kubeconfig(t, authorizer.Kubeconfig, hookedHost+"20:443", allTiers)
	users := map[string]authenticationv1.UserInfo{}
	for _, user := range []string{"early-allowed", "early-denied", "late-allowed"} {
		users["token-of-"+user] = authenticationv1.UserInfo{Username: user}
	}
	reviewer, _ := harness.StartReviewer(t, users)
	s.kubeconfig(t, reviewer, hookedHost+"21:443", "core")
	s.sink = harness.StartAuditSink(t)
	s.kubeconfig(t, s.sink.Kubeconfig, hookedHost+"22:80", allTiers)
	s.collector = harness.StartCollector(t)
	harness.WriteFile(t, files+"/authorizers.yaml", []byte(authorizers(authorizer.Kubeconfig, "early", "NoOpinion")), 0o600)
	harness.WriteFile(t, files+"/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata, users: [early-allowed]}]\n"), 0o600)
	harness.WriteFile(t, files+"/tracing.yaml", []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: 1000000\nendpoint: "+
		s.route("controlplane", hookedHost+"23:4317", s.collector.Address, allTiers)+"\n"), 0o600)
	s.args = []string{
		"--egress-selector-config-file=" + s.ConfigFile, "--authorization-config=" + files + "/authorizers.yaml",
		"--authentication-token-webhook-config-file=" + reviewer, "--tracing-config-file=" + files + "/tracing.yaml",
		"--audit-policy-file=" + files + "/audit.yaml", "--audit-webhook-config-file=" + s.sink.Kubeconfig,
		"--audit-webhook-batch-max-wait=1s", "--audit-webhook-initial-backoff=1s",
	}
	if via["etcd"] != "" {
		etcd := harness.Must(harness.StartEtcd(harness.TempDir(t), hookedHost+"30"))(t)
		t.Cleanup(func() { etcd.End(soon) })
		etcd.URL = "https://" + s.route("etcd", hookedHost+"30:2379", strings.TrimPrefix(etcd.URL, "https://"), allTiers)
		s.args = append(s.args, etcd.Flags()...)
	}
	return s
}

// startEgress starts ours and stock with all that they call behind proxies. The
// proxies come last.
func startEgress(t *testing.T, via map[string]harness.Via) (ours, stock *egressSide) {
	t.Helper()
	ours, stock = newEgressSide(t, "ours", via), newEgressSide(t, "stock", via)
	for _, s := range []*egressSide{ours, stock} {
		if s.Announce(t); via["etcd"] != "" {
			s.Open(t)
		}
	}
	cluster, server := harness.Begin(t, harness.Options{Args: ours.args}), harness.BeginStock(t, stock.args...)
	if err := server.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	cluster.WaitReady(t)
	ours.cluster, ours.API, ours.dir, stock.API, stock.dir = cluster, &cluster.API, cluster.Dir, &server.API, server.Dir
	for _, s := range []*egressSide{ours, stock} {
		if via["etcd"] == "" {
			s.Open(t)
		}
		s.setUp(t)
	}
	return ours, stock
}

// setUp makes objects that lead to the servers.
func (s *egressSide) setUp(t *testing.T) {
	t.Helper()
	kubelet := harness.StartKubelet(t, harness.Must(harness.LoadPair(s.dir+"/pki/ca.crt", s.dir+"/pki/ca.key"))(t))
	kubelet.Host, kubelet.Port = s.at(t, "cluster", hookedHost+"1:10250", kubelet.Port, "core")
	s.node = node{s.API, kubelet, "egress"}
	kubelet.RunPod(t, s.API, "egress")
	target := harness.StartTarget(t, "127.0.0.1")
	target.Host, target.Port = s.at(t, "cluster", hookedHost+"2:8080", target.Port, "core")
	s.proxied = &proxied{API: s.API, Target: target}
	s.proxied.serve(t)

	hosts := []string{}
	for i := range 5 {
		hosts = append(hosts, hookedHost+fmt.Sprint(10+i), fmt.Sprintf("hook%d.hooked.svc", i))
	}
	s.hook = harness.StartWebhook(t, hosts...)
	s.backend = harness.StartBackend(t, "behind.example.com", "hooked", "hook5", "http/1.1")
	manifest := "apiVersion: v1\nkind: Namespace\nmetadata: {name: hooked}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {namespace: hooked, name: default}\n"
	for i, by := range []string{"core", "extensions", "aggregator", "extensions", "extensions", "aggregator"} {
		port := s.hook.Port
		if i == 5 {
			port = s.backend.Port
		}
		if i != 4 {
			s.at(t, "cluster", fmt.Sprintf("%s%d:443", hookedService, i+1), port, by)
		}
		manifest += fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {namespace: hooked, name: hook%d}\nspec: {clusterIP: %s%d, ports: [{port: 443}]}\n", i, hookedService, i+1)
	}
	manifest += "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {namespace: hooked, name: hook5, labels: {kubernetes.io/service-name: hook5}}\n" +
		"addressType: IPv4\nendpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}]\nports: [{name: \"\", port: 443}]\n"
	manifest += "---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: egress}\nwebhooks:\n"
	for i, rule := range []string{`apiGroups: [""], resources: [configmaps]`, "apiGroups: [converted.example.com], resources: [byservices]", "apiGroups: [apiregistration.k8s.io], resources: [apiservices]"} {
		by := strings.Fields(allTiers)[i]
		for kind, client := range map[string]string{
			"service": fmt.Sprintf("service: {namespace: hooked, name: hook%d, path: /%s/warn}", i, by),
			"url":     fmt.Sprintf("url: %q", s.url(t, i, by)+"/"+by+"/warn"),
		} {
			manifest += fmt.Sprintf("- name: %s.%s.example.com\n  rules: [{%s, apiVersions: [v1], operations: [CREATE]}]\n  clientConfig: {%s, caBundle: %s}\n"+
				"  objectSelector: {matchLabels: {egress: %s}}\n  sideEffects: None\n  admissionReviewVersions: [v1]\n  timeoutSeconds: 5\n", kind, by, rule, client, s.hook.Bundle(), kind)
		}
	}
	for kind, client := range map[string]string{
		"byservice": "{service: {namespace: hooked, name: hook3, path: /convert}, caBundle: " + s.hook.Bundle() + "}",
		"byurl":     fmt.Sprintf("{url: %q, caBundle: %s}", s.url(t, 4, "extensions")+"/convert", s.hook.Bundle()),
	} {
		manifest += "---\n" + strings.NewReplacer("KIND", kind, "CLIENT", client).Replace(convertedCRD)
	}
	manifest += "---\n" + harness.APIService{Group: "behind.example.com", Version: "v1", GroupPriority: 100, VersionPriority: 100,
		Namespace: "hooked", Service: "hook5", Port: 443, CA: s.backend.CA}.Manifest()
	s.KubectlInput(t, manifest, "apply", "-f", "-")
	if _, err := s.TryKubectl(t, "", "wait", "--for=condition=Available", "--timeout=20s", "apiservice", "v1.behind.example.com"); err != nil {
		t.Fatal(err, s.Kubectl(t, "get", "apiservice", "v1.behind.example.com", "-o", "yaml"), s.Dials())
	}
	for _, kind := range []string{"byservice", "byurl"} {
		served(t, s.API, convertedPath(kind, "v1"))
		s.KubectlInput(t, convertedObject(kind, "v1", "one", "size", 1), "create", "-n", "hooked", "-f", "-")
	}
}

// at routes address to a port of this machine, and returns where it is now.
func (s *egressSide) at(t *testing.T, egress, address string, port int, tiers string) (string, int) {
	t.Helper()
	given := harness.Must(url.Parse("tcp://" + s.route(egress, address, fmt.Sprintf("127.0.0.1:%d", port), tiers)))(t)
	if _, err := fmt.Sscan(given.Port(), &port); err != nil {
		t.Fatal(err)
	}
	return given.Hostname(), port
}

// url is where a webhook that no Service leads to is.
func (s *egressSide) url(t *testing.T, i int, by string) string {
	t.Helper()
	host, port := s.at(t, "controlplane", fmt.Sprintf("%s%d:443", hookedHost, 10+i), s.hook.Port, by)
	return fmt.Sprintf("https://%s:%d", host, port)
}
