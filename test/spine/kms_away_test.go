package spine

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// Started while its key management plugin is away, the API serves what is not
// encrypted, as stock does, and the rest when the plugin is there.
func TestStartWithoutItsKMSPluginServesTheRestLikeStock(t *testing.T) {
	t.Parallel()
	kms := harness.StartKMS(t)
	file := harness.TempDir(t) + "/encryption.yaml"
	if err := os.WriteFile(file, []byte(fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - kms: {apiVersion: v2, name: vault, endpoint: "unix://%s", timeout: 1s}
  - identity: {}
`, kms.Socket)), 0o600); err != nil {
		t.Fatal(err)
	}
	flag := "--encryption-provider-config=" + file
	dir, etcd := harness.TempDir(t), harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(10 * time.Second) })
	first, stock := harness.Run(t, harness.Options{Dir: dir, Args: []string{flag}}), harness.RunStock(t, append(etcd.Flags(), flag)...)
	const group = "sealed.example.com"
	for _, api := range []*harness.API{&first.API, &stock.API} {
		installCRD(t, api, group)
		createGadget(t, api, group, "one")
		api.Kubectl(t, "create", "configmap", "open")
		api.Kubectl(t, "create", "secret", "generic", "sealed")
	}
	first.Stop(t)
	if err := stock.End(soon); err != nil {
		t.Fatal(err)
	}
	kms.Stop()
	began := time.Now()
	c := harness.Begin(t, harness.Options{Dir: dir, Args: []string{flag}})
	again := harness.Must(harness.LaunchStock(harness.TempDir(t), append(etcd.Flags(), flag)...))(t)
	t.Cleanup(func() { again.Close() })
	tell := func(api *harness.API) map[string]string {
		said := map[string]string{}
		for _, path := range []string{
			"/api/v1/namespaces/default/configmaps/open", gadgetsPath(group) + "/one", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps", "/apis", "/apis/" + group + "/v1",
			"/api/v1/namespaces/default/secrets/absent", "/readyz", "/version",
		} {
			answer, err := harness.Send(t.Context(), api.Config(t), http.MethodGet, path, "")
			said[path] = fmt.Sprint(answer.Code, err)
		}
		answer, err := harness.Send(t.Context(), api.Config(t), http.MethodPost, "/api/v1/namespaces/default/configmaps?dryRun=All", `{"metadata": {"generateName": "x"}}`, "Content-Type", "application/json")
		said["create"] = fmt.Sprint(answer.Code, err)
		return said
	}
	harness.Eventually(t, harness.StartBound, "both serve the rest", func() error {
		if _, err := os.Stat(c.Kubeconfig); err != nil {
			return err
		}
		if diff := cmp.Diff(tell(&again.API), tell(&c.API)); diff != "" {
			return fmt.Errorf("(- stock, + ours)\n%s", diff)
		}
		if got := c.Get(t, gadgetsPath(group)+"/one").Code; got != http.StatusOK {
			return fmt.Errorf("a gadget: %d", got)
		}
		return nil
	})
	t.Logf("serving the rest after %v", time.Since(began).Round(time.Millisecond))
	kms.Start(t)
	back := time.Now()
	c.WaitStatus(t, 2*harness.StartBound, "phase Ready", harness.IsReady) // informers of secrets wait up to a minute between two LISTs, as stock's do
	t.Logf("ready %v after the plugin is back", time.Since(back).Round(time.Millisecond))
	if got := c.Get(t, "/api/v1/namespaces/default/secrets/sealed"); got.Code != http.StatusOK {
		t.Errorf("the secret: %s", got)
	}
}
