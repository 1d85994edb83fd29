package spine

import (
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// A mistaken configuration of egress proxies is told in one line that names the
// file and what is wrong in it. A proxy that is not there yet is no mistake.
func TestMistakenEgressConfiguration(t *testing.T) {
	t.Parallel()
	dir := givenFiles(t)
	const head, tcp = "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n",
		`- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {tcp: {url: "URL", TLS}}}}`
	secure := func(ca, cert, key string) string {
		return head + strings.NewReplacer("URL", "https://127.0.0.1:1", "TLS",
			"tlsConfig: {caBundle: "+dir+"/"+ca+", clientCert: "+dir+"/"+cert+", clientKey: "+dir+"/"+key+"}").Replace(tcp)
	}
	const flag = "--egress-selector-config-file="
	all := map[string]mistake{"no such file": {args: []string{flag + dir + "/none"}, want: []string{"egress-selector-config-file", dir + "/none", "does not exist"}}}
	for name, file := range map[string]struct{ content, want string }{
		"another kind":        {"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n", "EncryptionConfiguration"},
		"unknown type":        {head + "- {name: nodes, connection: {proxyProtocol: Direct}}\n", `"nodes"`},
		"no TLS":              {head + strings.NewReplacer("URL", "http://127.0.0.1:1", ", TLS", "").Replace(tcp), "https://"},
		"missing CA":          {secure("none.crt", "fine.crt", "fine.key"), dir + "/none.crt"},
		"missing certificate": {secure("ca.crt", "none.crt", "fine.key"), dir + "/none.crt"},
		"garbage certificate": {secure("ca.crt", "garbage", "fine.key"), dir + "/garbage"},
		"garbage CA":          {secure("garbage", "fine.crt", "fine.key"), "CA"},
	} {
		path := harness.TempDir(t) + "/egress.yaml"
		harness.WriteFile(t, path, []byte(file.content), 0o600)
		all[name] = mistake{args: []string{flag + path}, want: []string{flag + path, file.want}}
	}
	checkMistakes(t, all)
}
