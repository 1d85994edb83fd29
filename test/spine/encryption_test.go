package spine

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"

	"triptych.dev/triptych/test/harness"
)

// sealed is one of two APIs that encrypt what they store.
type sealed struct {
	*harness.API
	etcd   *harness.Etcd
	kms    *harness.KMS
	config string
	// tiers is how many processes read the configuration.
	tiers int
	// timeout is the one of the plugin.
	timeout string
	args    []string
}

const sealedGroup = "sealed.example.com"

// encryptionConfig makes a configuration of lines of "resources = providers". A
// provider is identity, kms, or TYPE/KEY,KEY.
func (s *sealed) encryptionConfig(lines ...string) []byte {
	out := &strings.Builder{}
	fmt.Fprint(out, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n")
	for _, line := range lines {
		resources, providers, _ := strings.Cut(line, " = ")
		fmt.Fprintf(out, "- resources: [%s]\n  providers:\n", resources)
		for _, provider := range strings.Fields(providers) {
			kind, keys, _ := strings.Cut(provider, "/")
			fmt.Fprintf(out, "  - %s:\n", kind)
			switch kind {
			case "identity":
				fmt.Fprint(out, "      {}\n")
			case "kms":
				fmt.Fprintf(out, "      {apiVersion: v2, name: %s, endpoint: \"unix://%s\", timeout: %s}\n", keys, s.kms.Socket, s.timeout)
			default:
				fmt.Fprint(out, "      keys:\n")
				for _, key := range strings.Split(keys, ",") {
					fmt.Fprintf(out, "      - {name: %s, secret: %s}\n", key, secretOf(key))
				}
			}
		}
	}
	return []byte(out.String())
}

// write replaces the configuration at once.
func (s *sealed) write(t *testing.T, lines ...string) {
	t.Helper()
	harness.WriteFile(t, s.config+".new", s.encryptionConfig(lines...), 0o600)
	if err := os.Rename(s.config+".new", s.config); err != nil {
		t.Fatal(err)
	}
}

func newSealed(t *testing.T, tiers int) *sealed {
	t.Helper()
	s := &sealed{
		etcd: harness.Must(harness.StartEtcd(harness.TempDir(t)))(t), kms: harness.StartKMS(t),
		config: harness.TempDir(t) + "/encryption.yaml", tiers: tiers, timeout: "1m",
	}
	t.Cleanup(func() { s.etcd.End(soon) })
	s.args = append(s.etcd.Flags(), "--encryption-provider-config="+s.config, "--encryption-provider-config-automatic-reload=true")
	return s
}

// stored are the encodings of what etcd has below prefixes.
func (s *sealed) stored(t *testing.T, prefixes ...string) map[string]string {
	t.Helper()
	encodings := map[string]string{}
	for _, prefix := range prefixes {
		for key, value := range s.etcd.Stored(t, "/registry/"+prefix) {
			encodings[strings.TrimPrefix(key, "/registry/")] = harness.Encoding(value)
		}
	}
	return encodings
}

// Every tier encrypts what it stores as stock does under the same configuration,
// and takes up a new one. The servers poll the file when they have started and
// once a minute: here it is replaced before they have started, after each process
// has read it, which is when it asks the plugin.
func TestEncryptionAtRestLikeStock(t *testing.T) {
	t.Parallel()
	ours, stock := newSealed(t, 3), newSealed(t, 1)
	both := map[string]*sealed{"ours": ours, "stock": stock}
	releases := map[string]func(){}
	for name, s := range both {
		s.write(t, "secrets = kms/vault identity")
		releases[name] = s.kms.Hold()
		defer releases[name]()
	}
	c, k := harness.Begin(t, harness.Options{Args: ours.args}), harness.BeginStock(t, stock.args...)
	ours.API, stock.API = &c.API, &k.API
	for name, s := range both {
		harness.Eventually(t, soon, "each process has read the configuration", func() error { return s.kms.Asked(s.tiers) })
		s.write(t,
			"secrets = kms/vault identity",
			"configmaps = aescbc/young,old identity",
			"gadgets."+sealedGroup+" = secretbox/gadgets identity",
			"customresourcedefinitions.apiextensions.k8s.io = aesgcm/definitions identity",
			"serviceaccounts = identity aesgcm/unused",
			"'*.apps' = aescbc/apps identity",
			"'*.*' = secretbox/rest identity")
		releases[name]()
	}
	c.WaitReady(t)
	if err := k.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	for name, s := range both {
		harness.Eventually(t, soon, "each process of "+name+" has read the new configuration", func() error {
			return s.reloaded(t)
		})
		s.fill(t)
	}
	prefixes := []string{"secrets/default/", "configmaps/default/", sealedGroup + "/", "apiextensions.k8s.io/",
		"apiregistration.k8s.io/apiservices/v1." + sealedGroup, "deployments/", "controllerrevisions/", "serviceaccounts/default/", "roles/default/"}
	want, got := stock.stored(t, prefixes...), ours.stored(t, prefixes...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is in etcd (- stock, + ours)\n%s", diff)
	}
	for key, encoding := range map[string]string{
		"secrets/default/sealed":                                                "k8s:enc:kms:v2:vault",
		"configmaps/default/sealed":                                             "k8s:enc:aescbc:v1:young",
		sealedGroup + "/gadgets/default/one":                                    "k8s:enc:secretbox:v1:gadgets",
		"apiextensions.k8s.io/customresourcedefinitions/gadgets." + sealedGroup: "k8s:enc:aesgcm:v1:definitions",
		"apiregistration.k8s.io/apiservices/v1." + sealedGroup:                  "k8s:enc:secretbox:v1:rest",
		"deployments/default/sealed":                                            "k8s:enc:aescbc:v1:apps",
		"serviceaccounts/default/sealed":                                        "protobuf",
		"roles/default/sealed":                                                  "k8s:enc:secretbox:v1:rest",
	} {
		if got[key] != encoding {
			t.Errorf("%s is stored as %q, want %q", key, got[key], encoding)
		}
	}
	sameAnswers(t, ours, stock)

	// A plugin that goes away is not needed for what is in memory, and not missed.
	for _, s := range both {
		s.kms.Stop()
	}
	sameAnswers(t, ours, stock)
	create := func(s *sealed, name string) harness.Answer {
		body := `{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "` + name + `"}}`
		return request{"", http.MethodPost, "/api/v1/namespaces/default/secrets", body, nil}.send(t, &beside{API: s.API})
	}
	if want, got := create(stock, "away"), create(ours, "away"); got.Code != want.Code {
		t.Errorf("a Secret without the plugin: %s, stock: %s", got, want)
	}
	for _, s := range both {
		s.kms.Start(t)
		if got := create(s, "back"); got.Code != http.StatusCreated {
			t.Errorf("a Secret with the plugin back: %s", got)
		}
	}
}

// fill makes one object for each line of the configuration.
func (s *sealed) fill(t *testing.T) {
	t.Helper()
	installCRD(t, s.API, sealedGroup)
	createGadget(t, s.API, sealedGroup, "one")
	s.KubectlInput(t, `{kind: Secret, apiVersion: v1, metadata: {name: sealed}, stringData: {key: value}}
---
{kind: ConfigMap, apiVersion: v1, metadata: {name: sealed}, data: {key: value}}
---
{kind: ServiceAccount, apiVersion: v1, metadata: {name: sealed}}
---
{kind: Role, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: sealed}}
---
{kind: ControllerRevision, apiVersion: apps/v1, metadata: {name: sealed}, revision: 1, data: {a: b}}
---
{kind: Deployment, apiVersion: apps/v1, metadata: {name: sealed}, spec: {selector: {matchLabels: {a: b}}, template:
  {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}}
`, "create", "-f", "-")
	harness.Eventually(t, soon, "the group is registered", func() error {
		_, err := s.TryKubectl(t, "", "get", "apiservice", "v1."+sealedGroup)
		return err
	})
}

// reloadsOfEncryption is a sample that counts them.
var reloadsOfEncryption = regexp.MustCompile(`(?m)^apiserver_encryption_config_controller_automatic_reloads_total\{.*status="success".*\} 1$`)

func (s *sealed) reloaded(t *testing.T) error {
	metrics := s.Get(t, "/metrics")
	if n := len(reloadsOfEncryption.FindAll(metrics.Body, -1)); metrics.Code != http.StatusOK || n != s.tiers {
		return fmt.Errorf("/metrics answers %d and tells of %d", metrics.Code, n)
	}
	return nil
}

// sameAnswers compares what a client can see of encryption.
func sameAnswers(t *testing.T, ours, stock *sealed) {
	t.Helper()
	for _, path := range []string{"/healthz/kms-providers", "/readyz/kms-providers", "/livez/kms-providers", "/readyz/kms-provider-0",
		"/api/v1/namespaces/default/secrets/sealed", "/api/v1/namespaces/default/secrets/none", gadgetsPath(sealedGroup) + "/one"} {
		if want, got := stock.Get(t, path), ours.Get(t, path); got.Code != want.Code {
			t.Errorf("%s: %s, stock: %s", path, got, want)
		}
	}
	if all := ours.Get(t, "/readyz?verbose"); !strings.Contains(string(all.Body), "[+]kms-providers ok") {
		t.Errorf("/readyz?verbose: %s", all)
	}
	about := func(s *sealed) sets.Set[string] {
		all := sets.New[string]()
		for f := range families(s.Get(t, "/metrics").Body) {
			if strings.Contains(f, "encryption") || strings.Contains(f, "transform") {
				all.Insert(f)
			}
		}
		return all
	}
	if want, got := about(stock), about(ours); !got.Equal(want) || want.Len() < 5 {
		t.Errorf("the metrics are %v, stock's %v", sets.List(got), sets.List(want))
	}
}

// secretOf is the key of that name.
func secretOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.StdEncoding.EncodeToString(sum[:])
}
