package spine

import (
	"testing"

	"triptych.dev/triptych/test/harness"
)

// A mistaken encryption configuration is told in one line that names the file.
func TestMistakenEncryptionConfiguration(t *testing.T) {
	t.Parallel()
	dir := harness.TempDir(t)
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n"
	all := map[string]mistake{"no such file": {args: []string{"--encryption-provider-config=" + dir + "/none"}, want: []string{dir + "/none"}}}
	for name, file := range map[string]string{
		"no yaml":          "{",
		"short key":        head + "  - aescbc: {keys: [{name: a, secret: YWJj}]}\n",
		"unknown provider": head + "  - rot13: {}\n",
		"no socket":        head + "  - kms: {apiVersion: v2, name: a, endpoint: \"tcp://127.0.0.1\"}\n",
	} {
		path := dir + "/" + name
		harness.WriteFile(t, path, []byte(file), 0o600)
		all[name] = mistake{args: []string{"--encryption-provider-config=" + path}, want: []string{path}}
		all[name+", reloaded"] = mistake{args: append(all[name].args, "--encryption-provider-config-automatic-reload"), want: []string{path}}
	}
	checkMistakes(t, all)
}
