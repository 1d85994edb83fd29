package spine

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// staticPolicy and staticWebhook are in files, which every tier reads.
const staticPolicy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: names.static.k8s.io}
spec:
  matchConstraints: {resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}]}
  validations: [{expression: "!object.metadata.name.contains('forbidden')", message: a file forbids it}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: names.static.k8s.io}
spec: {policyName: names.static.k8s.io, validationActions: [Deny]}
`

const staticWebhook = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: deny.static.k8s.io}
webhooks:
- name: deny.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://127.0.0.1:1/"}
  objectSelector: {matchLabels: {static: webhook}}
  rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}]
`

const admissionConfig = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
- name: ValidatingAdmissionPolicy
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ValidatingAdmissionPolicyConfiguration, staticManifestsDir: FILES/policies}
- name: ValidatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: FILES/hooks.kubeconfig, staticManifestsDir: FILES/webhooks}
`

// admissionFlags turn on plugins that act in every tier, and have all read files.
func admissionFlags(t *testing.T) []string {
	t.Helper()
	files := harness.TempDir(t)
	for _, folder := range []string{"policies", "webhooks"} {
		if err := os.Mkdir(files+"/"+folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"policies/policy.yaml": staticPolicy, "webhooks/webhook.yaml": staticWebhook,
		"hooks.kubeconfig": "apiVersion: v1\nkind: Config\nusers: [{name: '*', user: {token: of-the-file}}]\n",
		"admission.yaml":   strings.ReplaceAll(admissionConfig, "FILES", files),
	} {
		harness.WriteFile(t, files+"/"+name, []byte(content), 0o600)
	}
	return []string{
		"--admission-control-config-file=" + files + "/admission.yaml",
		"--enable-admission-plugins=NamespaceAutoProvision,OwnerReferencesPermissionEnforcement,AlwaysPullImages",
		"--disable-admission-plugins=DefaultIngressClass",
	}
}

// Policies, quotas, owner references, life of namespaces: what is refused behind
// stock is refused here, in the same words, whichever tier serves it.
func TestAdmissionActsOnEveryKindAsInStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	ours, stock := sideBySide(t, admissionFlags(t)...)
	for _, b := range []*beside{ours, stock} {
		b.KubectlInput(t, hookedCRD, "create", "-f", "-")
		b.KubectlInput(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: hooked, labels: {hooked: \"yes\"}}\n", "create", "-f", "-")
		served(t, b.API, objectsOf["extensions"].path)
		harness.RunControllers(t, b.API, b.dir)
	}
	t.Run("plugins", func(t *testing.T) { pluginsOfAllTiersAreStocks(t, ours, stock) })
	t.Run("files", func(t *testing.T) { filesCountInEveryTier(t, ours, stock) })
	t.Run("quota", func(t *testing.T) { quotaHoldsInEveryTier(t, ours, stock) })
	t.Run("owners", func(t *testing.T) { ownersAreProtected(t, ours, stock) })
	t.Run("namespaces", func(t *testing.T) { namespacesEndWithWhatIsInThem(t, ours, stock) })
	t.Run("garbage", func(t *testing.T) { garbageIsCollectedAcrossTiers(t, ours) })
	// Last: it leaves an aggregated API behind whose server has ended.
	t.Run("policies", func(t *testing.T) { policiesActInEveryTier(t, ours, stock) })
}

var loaded = regexp.MustCompile(`Loaded \d+ (mutating|validating) admission controller\(s\) successfully in the following order: ([\w,]+)`)

// loadedIn returns what a log says about the plugins that run, by their kind.
func loadedIn(t *testing.T, log string) map[string][]string {
	t.Helper()
	plugins := map[string][]string{}
	for _, m := range loaded.FindAllStringSubmatch(log, -1) {
		if names := strings.Split(m[2], ","); len(names) > len(plugins[m[1]]) {
			plugins[m[1]] = names
		}
	}
	if len(plugins) == 0 {
		t.Fatal("no plugins are loaded")
	}
	return plugins
}

// onAnything are the plugins that look at more than built-in kinds; all others
// return at once for what extensions and the head serve.
var onAnything = []string{"NamespaceAutoProvision", "NamespaceLifecycle", "OwnerReferencesPermissionEnforcement",
	"MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota"}

func pluginsOfAllTiersAreStocks(t *testing.T, ours, stock *beside) {
	want := loadedIn(t, stock.output.String())
	for _, tier := range []string{"core", "extensions", "aggregator"} {
		got := loadedIn(t, string(harness.Must(os.ReadFile(ours.dir+"/log/"+tier+".log"))(t)))
		for kind, plugins := range want {
			if tier != "core" {
				plugins = slices.DeleteFunc(slices.Clone(plugins), func(name string) bool { return !slices.Contains(onAnything, name) })
			}
			if diff := cmp.Diff(plugins, got[kind]); diff != "" {
				t.Errorf("%s plugins of %s (- stock, + ours)\n%s", kind, tier, diff)
			}
		}
	}
}

func filesCountInEveryTier(t *testing.T, ours, stock *beside) {
	for name := range objectsOf {
		t.Run(name, func(t *testing.T) {
			alike(t, stock, ours, create(name, "forbidden", ""))
			alike(t, stock, ours, create(name, "unreachable", `"static": "webhook"`))
		})
	}
}

// quotas are two of one namespace, about kinds of two tiers each.
const quotas = `apiVersion: v1
kind: Namespace
metadata: {name: quota}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: both, namespace: quota}
spec: {hard: {count/gadgets.hooked.example.com: "4", count/secrets: "4", count/horizontalpodautoscalers.autoscaling: "1"}}
`

func quotaHoldsInEveryTier(t *testing.T, ours, stock *beside) {
	const secret = `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "NAME"}}`
	kinds := map[string]request{
		"gadgets": {"", http.MethodPost, "/apis/hooked.example.com/v1/namespaces/quota/gadgets", strings.ReplaceAll(objectsOf["extensions"].object, "LABELS", ""), nil},
		"secrets": {"", http.MethodPost, "/api/v1/namespaces/quota/secrets", secret, nil},
	}
	for _, b := range []*beside{ours, stock} {
		b.KubectlInput(t, quotas, "create", "-f", "-")
		b.awaitUsed(t, "gadgets.hooked.example.com", "0/4")
	}
	for name, kind := range kinds {
		t.Run("at once "+name, func(t *testing.T) {
			if got := ours.createAtOnce(t, kind, 12); got[http.StatusCreated] != 4 || got[http.StatusForbidden] == 0 {
				t.Errorf("answers by code: %v", got)
			}
			for i := range 4 {
				r := kind
				r.body = strings.ReplaceAll(r.body, "NAME", fmt.Sprintf("one-%d", i))
				r.send(t, stock)
			}
			for _, b := range []*beside{ours, stock} {
				list := harness.Must(harness.Send(t.Context(), b.Config(t), http.MethodGet, kind.path, ""))(t)
				if n := strings.Count(string(list.Body), `"namespace":"quota"`); n != 4 {
					t.Errorf("%d were created", n)
				}
			}
			kind.what, kind.body = "over", strings.ReplaceAll(kind.body, "NAME", "over")
			alike(t, stock, ours, kind)
		})
	}
	for _, b := range []*beside{ours, stock} {
		b.awaitUsed(t, "gadgets.hooked.example.com", "4/4")
		b.awaitUsed(t, "secrets", "4/4")
	}
	ours.Kubectl(t, "-n", "quota", "delete", "gadgets", "--all")
	ours.awaitUsed(t, "gadgets.hooked.example.com", "0/4")
}

// awaitUsed waits for what the controller counts.
func (b *beside) awaitUsed(t *testing.T, resource, want string) {
	t.Helper()
	harness.Eventually(t, harness.StartBound, "the quota says "+want, func() error {
		got := b.Kubectl(t, "-n", "quota", "get", "quota", "both", "-o",
			`go-template={{index .status.used "count/`+resource+`"}}/{{index .status.hard "count/`+resource+`"}}`)
		if got != want {
			return fmt.Errorf("%s: %s", resource, got)
		}
		return nil
	})
}

// createAtOnce sends n requests side by side and counts the answers by code.
func (b *beside) createAtOnce(t *testing.T, r request, n int) map[int]int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	codes := map[int]int{}
	for i := range n {
		wg.Go(func() {
			body := strings.ReplaceAll(r.body, "NAME", fmt.Sprintf("many-%d", i))
			got, err := harness.Send(t.Context(), b.Config(t), r.method, r.path, body, "Content-Type", "application/json")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			codes[got.Code]++
		})
	}
	wg.Wait()
	return codes
}

const owners = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: creator}
rules:
- {apiGroups: ["", hooked.example.com, apiregistration.k8s.io], resources: [configmaps, gadgets, apiservices], verbs: [create, update, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: creator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: creator}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: creator}]
`

// ownersAreProtected: who may not finalize the owner may not make something
// block its deletion. To know what the owner is, every tier needs every kind.
func ownersAreProtected(t *testing.T, ours, stock *beside) {
	for _, b := range []*beside{ours, stock} {
		b.KubectlInput(t, owners, "apply", "-f", "-")
	}
	as := []string{"Content-Type", "application/json", "Impersonate-User", "creator"}
	for name := range objectsOf {
		for _, owner := range []string{`"apiVersion": "apps/v1", "kind": "Deployment"`, `"apiVersion": "hooked.example.com/v1", "kind": "Gadget"`,
			`"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"`, `"apiVersion": "absent.example.com/v1", "kind": "Absent"`} {
			refs := `"ownerReferences": [{"name": "o", "uid": "test-owner", "blockOwnerDeletion": true, ` + owner + `}], `
			body := strings.Replace(hookedObject(name, "owned", ""), `"metadata": {`, `"metadata": {`+refs, 1)
			t.Run(name+" "+owner, func(t *testing.T) {
				alike(t, stock, ours, request{"owned", http.MethodPost, objectsOf[name].path + "?dryRun=All", body, as})
			})
		}
	}
}

// namespacesEndWithWhatIsInThem: nothing is created in a namespace that ends, and
// it ends with the custom resources in it. One that is missing is made, because
// the plugin that does so is on.
func namespacesEndWithWhatIsInThem(t *testing.T, ours, stock *beside) {
	in := func(kind, name string) request {
		path := strings.Replace(objectsOf[kind].path, "/hooked/", "/ending/", 1)
		return request{name, http.MethodPost, path, hookedObject(kind, name, ""), nil}
	}
	alike(t, stock, ours, in("extensions", "first"))
	alike(t, stock, ours, request{"auto", http.MethodGet, "/api/v1/namespaces/ending", "", nil})
	hold := func(finalizers string) request {
		return request{"hold", http.MethodPatch, strings.Replace(objectsOf["extensions"].path, "/hooked/", "/ending/", 1) + "/first",
			`{"metadata": {"finalizers": ` + finalizers + `}}`, []string{"Content-Type", "application/merge-patch+json"}}
	}
	alike(t, stock, ours, hold(`["example.com/hold"]`))
	for _, b := range []*beside{ours, stock} {
		b.Kubectl(t, "delete", "namespace", "ending", "--wait=false")
		harness.Eventually(t, soon, "the namespace ends", func() error {
			if got := b.Get(t, "/api/v1/namespaces/ending"); !strings.Contains(string(got.Body), `"Terminating"`) {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
	alike(t, stock, ours, in("extensions", "late"))
	alike(t, stock, ours, in("core", "late"))
	for _, b := range []*beside{ours, stock} {
		harness.Eventually(t, harness.StartBound, "what holds the namespace is asked to go", func() error {
			if got := b.Get(t, hold("").path); !strings.Contains(string(got.Body), "deletionTimestamp") {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
		hold("null").send(t, b)
		harness.Eventually(t, harness.StartBound, "the namespace is gone", func() error {
			if got := b.Get(t, "/api/v1/namespaces/ending"); got.Code != http.StatusNotFound {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
}

// garbageIsCollectedAcrossTiers: an object goes with its owner, whichever tiers
// the two are in.
func garbageIsCollectedAcrossTiers(t *testing.T, ours *beside) {
	for _, pair := range [][2]string{{"core", "extensions"}, {"extensions", "core"}} {
		t.Run(pair[0]+" owns "+pair[1], func(t *testing.T) {
			name := "owner-" + pair[0]
			var owner struct {
				APIVersion, Kind string
				Metadata         struct{ UID string }
			}
			create(pair[0], name, "").send(t, ours).Into(t, &owner)
			refs := fmt.Sprintf(`"ownerReferences": [{"apiVersion": %q, "kind": %q, "name": %q, "uid": %q}], `, owner.APIVersion, owner.Kind, name, owner.Metadata.UID)
			owned := create(pair[1], "owned-by-"+pair[0], "")
			owned.body = strings.Replace(owned.body, `"metadata": {`, `"metadata": {`+refs, 1)
			if got := owned.send(t, ours); got.Code != http.StatusCreated {
				t.Fatal(got)
			}
			remove := request{"", http.MethodDelete, objectsOf[pair[0]].path + "/" + name, "", nil}
			remove.send(t, ours)
			harness.Eventually(t, harness.StartBound, "what it owned is gone", func() error {
				if got := ours.Get(t, owned.path+"/owned-by-"+pair[0]); got.Code != http.StatusNotFound {
					return fmt.Errorf("%s", got)
				}
				return nil
			})
		})
	}
}
