package spine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"triptych.dev/triptych/test/harness"
)

// Ours and stock that were told the same have the same in etcd: the same keys, the
// same encodings, the same objects. Stock then starts on ours, which a plain etcd
// serves out of our data directory, and ours on stock's; each reads everything,
// and trusts the tokens that the other issued.
func TestStorageIsStocksBothWays(t *testing.T) {
	t.Parallel()
	file := harness.TempDir(t) + "/encryption.yaml"
	harness.WriteFile(t, file, (&sealed{}).encryptionConfig(
		"secrets = aescbc/secrets identity", "gadgets."+keptGroup+" = secretbox/gadgets identity"), 0o600)
	encrypted := "--encryption-provider-config=" + file
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })

	c, k := harness.Begin(t, harness.Options{Args: []string{encrypted}}), harness.BeginStock(t, append(etcd.Flags(), encrypted)...)
	c.WaitReady(t)
	if err := k.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	ours, stock := keep(t, &c.API), keep(t, &k.API)
	k.Signal(syscall.SIGTERM)
	c.Stop(t)
	k.End(harness.StopBound)

	if out, stderr, code := c.Supervisor(t.Context(), "etcd", "auth", "disable"); code != 0 {
		t.Fatalf("etcd auth disable: code %d\n%s%s", code, out, stderr)
	}
	served := harness.TempDir(t)
	if err := os.Symlink(c.Path("etcd"), served+"/data"); err != nil {
		t.Fatal(err)
	}
	of := harness.Must(harness.StartEtcd(served))(t)
	t.Cleanup(func() { of.End(soon) })
	sameStored(t, etcd.Stored(t, "/"), of.Stored(t, "/"))

	back := harness.BeginStock(t, append(of.Flags(), encrypted, "--service-account-key-file="+c.Path("pki", "sa.pub"))...)
	forth := harness.Begin(t, harness.Options{Args: append(etcd.Flags(), encrypted,
		"--service-account-key-file="+k.Dir+"/pki/sa.crt", "--service-account-signing-key-file="+k.Dir+"/pki/sa.key")})
	forth.WaitReady(t)
	if err := back.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	t.Run("stock on ours", func(t *testing.T) { ours.foundBy(t, &back.API) })
	t.Run("ours on stock's", func(t *testing.T) { stock.foundBy(t, &forth.API) })
}

// kept is what one API had before it stopped.
type kept struct {
	// uids are by resource, namespace and name.
	uids  map[string]string
	token string
}

const keptGroup = "kept-both.example.com"

// keep makes an object of many kinds and notes everything there is.
func keep(t *testing.T, api *harness.API) *kept {
	t.Helper()
	installCRD(t, api, keptGroup)
	createGadget(t, api, keptGroup, "one")
	manifest := harness.Must(os.ReadFile("testdata/kinds.yaml"))(t)
	api.KubectlInput(t, string(manifest), "create", "-f", "-")
	token := strings.TrimSpace(api.Kubectl(t, "create", "token", "kept", "--bound-object-kind=Secret", "--bound-object-name=kept"))
	for _, group := range []string{"v1." + keptGroup, "v1.aggregated.example.com"} {
		harness.Eventually(t, soon, group+" is judged", func() error {
			conditions, err := api.TryKubectl(t, "", "get", "apiservice", group, "-o", "jsonpath={.status.conditions[*].reason}")
			if err == nil && conditions == "" {
				err = fmt.Errorf("no conditions")
			}
			return err
		})
	}
	return &kept{uids: allUIDs(t, api), token: token}
}

// foundBy demands that nothing is lost.
func (k *kept) foundBy(t *testing.T, api *harness.API) {
	t.Helper()
	served(t, api, gadgetsPath(keptGroup))
	harness.Eventually(t, soon, "everything is there", func() error {
		now := allUIDs(t, api)
		for key, uid := range k.uids {
			if now[key] != uid && !strings.HasPrefix(key, "leases/kube-system/") {
				return fmt.Errorf("%s has the UID %q, had %q", key, now[key], uid)
			}
		}
		return nil
	})
	for path, want := range map[string]string{
		"/api/v1/namespaces/default/secrets/kept":    `"key":"dmFsdWU="`,
		gadgetsPath(keptGroup) + "/one":              `"size":1`,
		"/api/v1/namespaces/default/configmaps/kept": `"key":"value"`,
	} {
		if got := api.Get(t, path); got.Code != http.StatusOK || !strings.Contains(string(got.Body), want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: k.token}}
	review = harness.Must(api.Clientset(t).AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{}))(t)
	if review.Status.User.Username != "system:serviceaccount:default:kept" {
		t.Errorf("the token: %+v", review.Status)
	}
	// What is written from now on is good, too.
	api.Kubectl(t, "annotate", "secret/kept", "configmap/kept", "gadgets."+keptGroup+"/one", "deployment/kept", "written=again")
	api.Kubectl(t, "create", "service", "clusterip", "another", "--tcp=80")
}

// allUIDs are the UIDs of all objects of all resources.
func allUIDs(t *testing.T, api *harness.API) map[string]string {
	t.Helper()
	lists, err := api.Discovery(t).ServerPreferredResources()
	if lists == nil {
		t.Fatal(err) // an aggregated server that is away is an error beside the rest
	}
	uids := map[string]string{}
	client := api.Dynamic(t)
	for _, list := range lists {
		gv := harness.Must(schema.ParseGroupVersion(list.GroupVersion))(t)
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Name == "componentstatuses" {
				continue
			}
			all, err := client.Resource(gv.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Errorf("%s %s: %v", gv, r.Name, err)
				continue
			}
			for _, object := range all.Items {
				uids[r.Name+"/"+object.GetNamespace()+"/"+object.GetName()] = string(object.GetUID())
			}
		}
	}
	return uids
}

// sameStored compares key by key.
func sameStored(t *testing.T, stock, ours map[string][]byte) {
	t.Helper()
	want, got := slices.Sorted(maps.Keys(stock)), slices.Sorted(maps.Keys(ours))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (- stock, + ours)\n%s", firstLines(diff, 80))
	}
	kinds := map[string]bool{}
	for _, key := range want {
		if ours[key] == nil {
			continue
		}
		if s, o := harness.Encoding(stock[key]), harness.Encoding(ours[key]); s != o {
			t.Errorf("%s is stored as %s, by stock as %s", key, o, s)
			continue
		}
		s, err := harness.Object(stock[key])
		if err != nil {
			continue // encrypted, or not an object
		}
		o := harness.Must(harness.Object(ours[key]))(t)
		kinds[fmt.Sprint(s["kind"])] = true
		if diff := cmp.Diff(unified(s), unified(o)); diff != "" {
			t.Errorf("%s (- stock, + ours)\n%s", key, firstLines(diff, 30))
		}
	}
	t.Logf("%d keys, %d kinds", len(want), len(kinds))
	if len(kinds) < 50 {
		t.Errorf("only %d kinds: %v", len(kinds), slices.Sorted(maps.Keys(kinds)))
	}
}

// unequal is what two servers cannot have in common: what is random, when it was,
// and their ports.
var unequal = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|-----BEGIN.*?-----END CERTIFICATE-----|"targetPort": \d{5}`)

// unified is an object as text without that, managed fields in an order of their
// own.
func unified(object map[string]any) string {
	if metadata, ok := object["metadata"].(map[string]any); ok {
		if fields, ok := metadata["managedFields"].([]any); ok {
			slices.SortStableFunc(fields, harness.ByManager)
		}
	}
	text, _ := json.MarshalIndent(object, "", " ")
	return unequal.ReplaceAllString(string(text), "...")
}
