package spine

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// join hands what host has to a new data directory and returns it.
func join(t *testing.T, host *harness.Cluster) (dir, token string) {
	t.Helper()
	token, stderr, code := host.Supervisor(t.Context(), "join-token", "--listen", "127.0.0.1:0", "--ttl", "5m")
	if code != 0 {
		t.Fatalf("join-token: exit code %d, %s", code, stderr)
	}
	file := harness.TempDir(t) + "/token"
	harness.WriteFile(t, file, []byte(token), 0o600)
	dir = harness.TempDir(t)
	if stdout, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "join", "--data-dir", dir, "--token-file", file); code != 0 {
		t.Fatalf("join: exit code %d, %s%s", code, stdout, stderr)
	}
	return dir, file
}

// A host that joins serves the same cluster: same objects, same tokens, same secrets at
// rest. The token of the first host is worth it once.
func TestAHostJoinsByATokenOnce(t *testing.T) {
	t.Parallel() // it waits more than it works
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })
	encryption := harness.TempDir(t) + "/encryption.yaml"
	harness.WriteFile(t, encryption, []byte(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aescbc: {keys: [{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}
`), 0o600)
	first := harness.Run(t, harness.Options{Args: append(etcd.Flags(), "--encryption-provider-config="+encryption, "--service-cluster-ip-range=10.55.0.0/16")})
	first.Kubectl(t, "create", "secret", "generic", "kept", "--from-literal=key=value")
	first.Kubectl(t, "create", "serviceaccount", "robot")
	first.Kubectl(t, "create", "clusterrolebinding", "robot", "--clusterrole=cluster-admin", "--serviceaccount=default:robot")
	robot := strings.TrimSpace(first.Kubectl(t, "create", "token", "robot"))

	dir, token := join(t, first)
	again := harness.TempDir(t)
	if _, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "join", "--data-dir", again, "--token-file", token); code == 0 || !strings.Contains(stderr, "used already") {
		t.Errorf("a second host joined by the same token: exit code %d, %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(again, "pki", "ca.key")); err == nil {
		t.Error("it was given the keys")
	}
	if _, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "join", "--data-dir", dir, "--token-file", token); code != exitConfiguration {
		t.Errorf("a host with keys joined: exit code %d, %s", code, stderr)
	}

	second := harness.Run(t, harness.Options{Dir: dir, Args: []string{"--config=" + filepath.Join(dir, "joined", "supervisor.yaml")}})
	if got := second.Kubectl(t, "get", "secret", "kept", "-o", "jsonpath={.data.key}"); got != "dmFsdWU=" {
		t.Errorf("the secret is %q there", got)
	}
	second.Kubectl(t, "create", "configmap", "there")
	if got := first.Get(t, "/api/v1/namespaces/default/configmaps/there"); got.Code != http.StatusOK {
		t.Errorf("what the second host wrote is %s at the first", got)
	}
	// Each trusts the tokens and certificates of the other.
	config := second.Anonymous(t)
	config.BearerToken = robot
	if got := getAs(t, config, "/api/v1/namespaces/default/secrets/kept"); got.Code != http.StatusOK {
		t.Errorf("a token of the first host is %s at the second", got)
	}
	crossed := first.Config(t)
	crossed.Host = second.URL(t)
	if got := getAs(t, crossed, "/api/v1/namespaces/default"); got.Code != http.StatusOK {
		t.Errorf("an administrator of the first host is %s at the second", got)
	}
	// The token is in no log, and neither is what it was worth.
	text := strings.TrimSpace(string(harness.Must(os.ReadFile(token))(t)))
	for _, log := range harness.Must(filepath.Glob(first.Path("log", "*.log")))(t) {
		if strings.Contains(string(harness.Must(os.ReadFile(log))(t)), text) {
			t.Errorf("the token is in %s", log)
		}
	}
}

func getAs(t *testing.T, config *rest.Config, path string) harness.Answer {
	t.Helper()
	client := harness.Must(rest.HTTPClientFor(config))(t)
	return harness.Must(harness.Do(client, harness.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+path, nil))(t)))(t)
}

// An etcd of the supervisor's own is of no use to another host.
func TestNobodyJoinsAnEmbeddedEtcd(t *testing.T) {
	if _, stderr, code := harness.Shared(t).Supervisor(t.Context(), "join-token"); code == 0 || !strings.Contains(stderr, "--etcd-servers") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
