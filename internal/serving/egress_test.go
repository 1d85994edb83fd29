package serving

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

const selections = "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n"

func apply(t *testing.T, content string) (*egressselector.EgressSelector, string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "egress.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &genericapiserver.Config{}
	err := applyEgress(&genericoptions.EgressSelectorOptions{ConfigFile: file}, c)
	return c.EgressSelector, file, err
}

func TestEgressSelectorIsThatOfTheFile(t *testing.T) {
	c := &genericapiserver.Config{}
	if err := applyEgress(genericoptions.NewEgressSelectorOptions(), c); err != nil || c.EgressSelector != nil {
		t.Errorf("without a file: %v, %v", c.EgressSelector, err)
	}
	// The proxy may come later.
	selector, _, err := apply(t, selections+"- {name: cluster, connection: {proxyProtocol: GRPC, transport: {uds: {udsName: /nonexistent}}}}\n")
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[egressselector.EgressType]bool{egressselector.Cluster: true, egressselector.Etcd: false} {
		if dial, err := selector.Lookup(kind.AsNetworkContext()); err != nil || (dial != nil) != want {
			t.Errorf("%v has a proxy: %v, %v", kind, dial != nil, err)
		}
	}
}

func TestMistakesInTheEgressConfigurationNameTheFile(t *testing.T) {
	const tcp = "- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {tcp: {url: \"URL\"}}}}\n"
	for name, c := range map[string]struct{ content, want string }{
		"empty":            {"", "Kind"},
		"no YAML":          {"{", "yaml"},
		"unknown field":    {selections + "- {name: cluster, connection: {proxyProtocol: Direct}, nmae: x}\n", "nmae"},
		"unknown type":     {selections + "- {name: nodes, connection: {proxyProtocol: Direct}}\n", `"nodes"`},
		"a type twice":     {selections + "- {name: etcd, connection: {proxyProtocol: Direct}}\n- {name: Etcd, connection: {proxyProtocol: Direct}}\n", "Duplicate"},
		"unknown protocol": {selections + "- {name: cluster, connection: {proxyProtocol: SOCKS}}\n", `"SOCKS"`},
		"no transport":     {selections + "- {name: cluster, connection: {proxyProtocol: GRPC}}\n", "transport must be set"},
		"no socket":        {selections + "- {name: cluster, connection: {proxyProtocol: GRPC, transport: {uds: {}}}}\n", "udsName"},
		"no TLS":           {selections + strings.Replace(tcp, "URL", "http://127.0.0.1:1", 1), `http://127.0.0.1:1 of "cluster" is spoken to without TLS`},
		"no certificate":   {selections + strings.Replace(tcp, "URL", "https://127.0.0.1:1", 1), "TLSConfig must be present"},
	} {
		selector, file, err := apply(t, c.content)
		if err == nil || !strings.Contains(err.Error(), "--egress-selector-config-file="+file) || !strings.Contains(err.Error(), c.want) || selector != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
