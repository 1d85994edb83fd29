package spine

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// settled bounds what aggregation makes known late: the head looks at the
// servers behind APIServices every 30 seconds, as the stock server does.
const settled = 2 * time.Minute

// side is an API with a sample server behind it: ours, or stock.
type side struct {
	*harness.API
	name   string
	sample *harness.Sample
	// dir holds the PKI, audit is the path of the audit log.
	dir, audit string
}

// user returns what someone with a certificate sends requests by.
func (s *side) user(t *testing.T, name string, groups ...string) *rest.Config {
	t.Helper()
	ca := harness.Must(harness.LoadPair(s.dir+"/pki/ca.crt", s.dir+"/pki/ca.key"))(t)
	pair := harness.Must(ca.Issue(harness.Leaf{CommonName: name, Organization: groups, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))(t)
	return s.ConfigFor(t, pair)
}

// apply gives kubectl a manifest.
func (s *side) apply(t *testing.T, manifest string) {
	t.Helper()
	s.KubectlInput(t, manifest, "apply", "-f", "-")
}

// aggregation is the same registration with both.
type aggregation struct {
	cluster     *harness.Cluster
	ours, stock *side
	etcd        *harness.Etcd
}

func (a *aggregation) both() []*side { return []*side{a.stock, a.ours} }

func newAggregation(t *testing.T) *aggregation {
	t.Helper()
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/audit.yaml", []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, resources: [{group: wardle.example.com}]}, {level: None}]
`), 0o600)
	audited := func(name string) []string {
		return []string{"--audit-policy-file=" + files + "/audit.yaml", "--audit-log-path=" + files + "/" + name + ".log"}
	}
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(10 * time.Second) })
	stock := harness.RunStock(t, audited("stock")...)
	c := harness.Run(t, harness.Options{Args: audited("ours")})
	a := &aggregation{
		cluster: c,
		etcd:    etcd,
		ours:    &side{API: &c.API, name: "ours", dir: c.Dir, audit: files + "/ours.log"},
		stock:   &side{API: &stock.API, name: "stock", dir: stock.Dir, audit: files + "/stock.log"},
	}
	for _, s := range a.both() {
		s.sample = harness.StartSample(t, s.API, etcd, s.name)
		s.sample.Register(t, s.API)
		s.apply(t, harness.ExternalService("recorded", "backend"))
	}
	return a
}

// variable is what differs between any two servers, or between two moments.
var variable = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}` +
	`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|(127\.0\.0\.1|localhost|\[::1\]):\d+` +
	`|"?(resourceVersion|continue|remainingItemCount)"?: ?"?[\w=-]+"?|X509SHA256=\w+|port: \d+`)

func plain(text string) string { return variable.ReplaceAllString(text, "*") }

// equal waits until both tell the same.
func (a *aggregation) equal(t *testing.T, what string, tell func(t *testing.T, s *side) any) {
	t.Helper()
	harness.Eventually(t, settled, what+" equals stock's", func() error {
		if diff := cmp.Diff(tell(t, a.stock), tell(t, a.ours)); diff != "" {
			return fmt.Errorf("(- stock, + ours)\n%s", firstLines(diff, 60))
		}
		return nil
	})
}

// same demands that both tell the same at once.
func (a *aggregation) same(t *testing.T, what string, tell func(t *testing.T, s *side) any) {
	t.Helper()
	if diff := cmp.Diff(tell(t, a.stock), tell(t, a.ours)); diff != "" {
		t.Errorf("%s (- stock, + ours)\n%s", what, firstLines(diff, 80))
	}
}

// told is an answer as far as it does not vary.
func told(answer harness.Answer, err error) string {
	if err != nil {
		return plain(err.Error())
	}
	header := answer.Header
	return plain(fmt.Sprintf("%d %s, retry after %q, warnings %q: %s", answer.Code, header.Get("Content-Type"), header.Get("Retry-After"), header["Warning"], answer.Body))
}

func (s *side) told(t *testing.T, path string, headers ...string) string {
	t.Helper()
	return told(harness.Send(t.Context(), s.Config(t), http.MethodGet, path, "", headers...))
}

const (
	wardle   = "/apis/wardle.example.com"
	flunders = wardle + "/v1alpha1/namespaces/default/flunders"
)

func flunder(namespace, name string) string {
	return fmt.Sprintf("apiVersion: wardle.example.com/v1alpha1\nkind: Flunder\nmetadata: {name: %s, namespace: %s, labels: {test: spine}}\n"+
		"spec: {reference: first, referenceType: Flunder}\n", name, namespace)
}

// One real aggregated server stands behind each API; what clients get from it
// through ours is what they get through the stock server.
func TestAggregatedServersAreServedAsByStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	a := newAggregation(t)
	for _, s := range a.both() {
		s.apply(t, flunder("default", "lasting"))
	}
	t.Run("objects", a.objects)
	t.Run("discovery", a.discovery)
	t.Run("users", a.users)
	t.Run("trust", a.trust)
	t.Run("audit", a.audited)
	t.Run("what the backend sees", a.backend)
	t.Run("admission", a.admission)
	t.Run("groups of others", a.takeover)
	t.Run("built-in groups", a.builtIns)
	t.Run("the API's own Service", a.ownService)
	t.Run("away", a.away)
	t.Run("head killed", a.headKilled)
}

// objects does everything to flunders that clients do, and compares what they
// are told meanwhile.
func (a *aggregation) objects(t *testing.T) {
	a.same(t, "kubectl", func(t *testing.T, s *side) any {
		said := []string{}
		kubectl := func(input string, args ...string) {
			out, err := s.TryKubectl(t, input, args...)
			if err != nil {
				out += err.Error()[strings.Index(err.Error(), "\n"):]
			}
			said = append(said, strings.Split(plain(strings.Join(args, " ")+"\n"+out), "\n")...)
		}
		kubectl("", "create", "namespace", "crud")
		kubectl(flunder("crud", "a"), "create", "-f", "-")
		kubectl(flunder("crud", "a"), "create", "-f", "-")
		kubectl(flunder("crud", "b"), "apply", "-f", "-")
		kubectl(strings.ReplaceAll(flunder("crud", "b"), "first", "second"), "apply", "-f", "-")
		kubectl(strings.ReplaceAll(flunder("crud", "c"), "first", "third"), "apply", "--server-side", "-f", "-")
		kubectl("", "patch", "-n", "crud", "flunder", "a", "--type=merge", "-p", `{"spec":{"reference":"patched"}}`)
		kubectl("", "patch", "-n", "crud", "flunder", "a", "--type=json", "-p", `[{"op":"add","path":"/metadata/labels/more","value":"yes"}]`)
		kubectl("", "patch", "-n", "crud", "flunder", "absent", "--type=merge", "-p", `{}`)
		kubectl("", "get", "-n", "crud", "flunders.v1alpha1.wardle.example.com", "-o", "yaml")
		kubectl("", "get", "-n", "crud", "flunders.v1beta1.wardle.example.com", "a", "-o", "yaml")
		kubectl("", "get", "-n", "crud", "flunders")
		kubectl("", "get", "-n", "crud", "flunders", "-o", "wide", "-l", "more=yes", "--show-labels")
		kubectl("", "get", "-A", "flunders", "--chunk-size=1", "-o", "name")
		kubectl("", "label", "-n", "crud", "flunder", "a", "more-")
		kubectl("apiVersion: wardle.example.com/v1alpha1\nkind: Fischer\nmetadata: {name: crud}\ndisallowedFlunders: [badname]\n", "create", "-f", "-")
		kubectl("", "get", "fischers,flunders", "-n", "crud", "-o", "name")
		kubectl(strings.ReplaceAll(flunder("crud", "d"), "referenceType: Flunder", "nothing: of the kind"), "create", "-f", "-")
		kubectl("", "get", "-n", "crud", "flunder", "absent")
		kubectl("", "delete", "-n", "crud", "flunder", "c")
		kubectl("", "delete", "-n", "crud", "flunders", "--all")
		kubectl("", "delete", "fischer", "crud")
		kubectl("", "get", "-n", "crud", "flunders")
		return said
	})
	a.same(t, "dynamic client", func(t *testing.T, s *side) any { return s.dynamicClient(t) })
}

func (s *side) flunders(t *testing.T, namespace string) dynamic.ResourceInterface {
	t.Helper()
	config := s.Config(t)
	config.WarningHandler = rest.NoWarnings{}
	return harness.Must(dynamic.NewForConfig(config))(t).Resource(schema.GroupVersionResource{Group: "wardle.example.com", Version: "v1alpha1", Resource: "flunders"}).Namespace(namespace)
}

func (s *side) dynamicClient(t *testing.T) (said []string) {
	client, ctx := s.flunders(t, "crud"), t.Context()
	say := func(what string, object any, err error) {
		content, _ := json.Marshal(object)
		said = append(said, plain(fmt.Sprintf("%s: %v %s", what, err, content)))
	}
	before := harness.Must(client.List(ctx, metav1.ListOptions{}))(t)
	watch := harness.Must(client.Watch(ctx, metav1.ListOptions{ResourceVersion: before.GetResourceVersion()}))(t)
	defer watch.Stop()
	for _, name := range []string{"one", "two", "three"} {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": map[string]any{"name": name},
		}}
		created, err := client.Create(ctx, object, metav1.CreateOptions{FieldManager: "spine"})
		say("create", created, err)
	}
	patched, err := client.Patch(ctx, "two", types.MergePatchType, []byte(`{"spec":{"reference":"x"}}`), metav1.PatchOptions{FieldManager: "spine"})
	say("patch", patched, err)
	_, err = client.Create(ctx, patched, metav1.CreateOptions{})
	say("create again", nil, err)
	patched.SetResourceVersion("1")
	_, err = client.Update(ctx, patched, metav1.UpdateOptions{})
	say("update of an old version", nil, err)
	next := ""
	for {
		page, err := client.List(ctx, metav1.ListOptions{Limit: 2, Continue: next})
		say("page", page, err)
		if next = page.GetContinue(); err != nil || next == "" {
			break
		}
	}
	say("delete collection", nil, client.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "!absent"}))
	after, err := client.List(ctx, metav1.ListOptions{})
	say("list", after, err)
	bound := time.NewTimer(soon)
	defer bound.Stop()
	for range 7 { // three are created, one is changed, three are deleted
		select {
		case event := <-watch.ResultChan():
			say("watched "+string(event.Type), event.Object, nil)
		case <-bound.C:
			t.Fatalf("%s: the watch has told only %q", s.name, said)
		}
	}
	return said
}

// discovery compares every document that tells of the group, and its place
// among the others.
func (a *aggregation) discovery(t *testing.T) {
	for _, path := range []string{"/apis", wardle, wardle + "/v1alpha1", wardle + "/v1beta1", wardle + "/v2", "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.wardle.example.com"} {
		a.equal(t, path, func(t *testing.T, s *side) any { return s.document(t, path) })
	}
	a.equal(t, "aggregated /apis", func(t *testing.T, s *side) any { return s.document(t, "/apis", "Accept", aggregatedDiscovery) })
	a.equal(t, "OpenAPI v2", func(t *testing.T, s *side) any { return s.ofWardle(t, "/openapi/v2") })
	for _, version := range []string{"", "/v1alpha1", "/v1beta1"} {
		a.equal(t, "OpenAPI v3"+version, func(t *testing.T, s *side) any {
			return s.ofWardle(t, openAPIV3(t, s.API)[strings.TrimPrefix(wardle+version, "/")])
		})
	}
	for _, what := range []string{"flunder", "flunder.spec", "fischer", "flunders.v1alpha1.wardle.example.com.spec"} {
		a.equal(t, "kubectl explain "+what, func(t *testing.T, s *side) any {
			out, err := s.TryKubectl(t, "", "explain", what)
			return fmt.Sprint(out, err)
		})
	}
	a.equal(t, "kubectl api-resources", func(t *testing.T, s *side) any {
		return s.Kubectl(t, "api-resources", "--api-group=wardle.example.com", "-o", "wide")
	})
	if got := a.ours.Kubectl(t, "explain", "flunder"); !strings.Contains(got, "wardle.example.com") {
		t.Errorf("kubectl explain flunder says %s", got)
	}
}

// document is the JSON at path without what varies.
func (s *side) document(t *testing.T, path string, headers ...string) any {
	t.Helper()
	answer := s.Get(t, path, headers...)
	var into map[string]any
	if answer.Code != http.StatusOK || json.Unmarshal(answer.Body, &into) != nil {
		return told(answer, nil)
	}
	if metadata, ok := into["metadata"].(map[string]any); ok {
		into["metadata"] = map[string]any{"name": metadata["name"]}
	}
	if spec, ok := into["spec"].(map[string]any); ok {
		delete(spec, "caBundle")
		delete(spec["service"].(map[string]any), "port")
	}
	into = withoutAddresses(into).(map[string]any)
	var plainly any
	if err := json.Unmarshal([]byte(plain(string(harness.Must(json.Marshal(into))(t)))), &plainly); err != nil {
		t.Fatal(err)
	}
	return plainly
}

// ofWardle is what an OpenAPI document says of the sample server; "" is one that is
// not listed.
func (s *side) ofWardle(t *testing.T, path string) any {
	t.Helper()
	if path == "" {
		return "not listed"
	}
	var spec struct {
		Paths, Definitions map[string]any
		Components         struct{ Schemas map[string]any }
	}
	answer := s.Get(t, path)
	if answer.Code != http.StatusOK {
		return told(answer, nil)
	}
	answer.Into(t, &spec)
	of := map[string]any{}
	for _, part := range []map[string]any{spec.Paths, spec.Definitions, spec.Components.Schemas} {
		for name, value := range part {
			if strings.Contains(name, "wardle") {
				of[name] = value
			}
		}
	}
	if len(of) == 0 {
		return "nothing of wardle"
	}
	return of
}

// users compares what the sample server, which knows nobody itself, lets whom do.
func (a *aggregation) users(t *testing.T) {
	for _, s := range a.both() {
		s.apply(t, `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: flunders}
rules: [{apiGroups: [wardle.example.com], resources: [flunders], verbs: [get, list, create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: flunders}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: flunders}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: mary}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: biologists}
- {kind: ServiceAccount, namespace: default, name: allowed}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: allowed, namespace: default}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: refused, namespace: default}
`)
	}
	token := func(t *testing.T, s *side, name string) *rest.Config {
		config := s.Anonymous(t)
		config.BearerToken = strings.TrimSpace(s.Kubectl(t, "create", "token", name))
		return config
	}
	as := func(t *testing.T, s *side, who rest.ImpersonationConfig) *rest.Config {
		config := s.Config(t)
		config.Impersonate = who
		return config
	}
	for _, who := range []struct {
		name   string
		config func(t *testing.T, s *side) *rest.Config
		code   int
		names  string
	}{
		{"without rights", func(t *testing.T, s *side) *rest.Config { return s.user(t, "jane") }, 403, `User \"jane\"`},
		{"with rights", func(t *testing.T, s *side) *rest.Config { return s.user(t, "mary") }, 200, ""},
		{"by group", func(t *testing.T, s *side) *rest.Config { return s.user(t, "someone", "biologists") }, 200, ""},
		{"a master", func(t *testing.T, s *side) *rest.Config { return s.user(t, "boss", "system:masters") }, 200, ""},
		{"almost a master", func(t *testing.T, s *side) *rest.Config { return s.user(t, "villain", "system:masters ") }, 403, `User \"villain\"`},
		{"a service account", func(t *testing.T, s *side) *rest.Config { return token(t, s, "allowed") }, 200, ""},
		{"a service account without rights", func(t *testing.T, s *side) *rest.Config { return token(t, s, "refused") }, 403, "system:serviceaccount:default:refused"},
		{"nobody", func(t *testing.T, s *side) *rest.Config { return s.Anonymous(t) }, 403, "system:anonymous"},
		{"a bad token", func(t *testing.T, s *side) *rest.Config {
			config := s.Anonymous(t)
			config.BearerToken = "bad"
			return config
		}, 401, ""},
		{"impersonated", func(t *testing.T, s *side) *rest.Config {
			return as(t, s, rest.ImpersonationConfig{UserName: "jane", UID: "7", Extra: map[string][]string{"note": {"x"}}})
		}, 403, `User \"jane\"`},
		{"impersonated with rights", func(t *testing.T, s *side) *rest.Config {
			return as(t, s, rest.ImpersonationConfig{UserName: "jane", Groups: []string{"biologists"}})
		}, 200, ""},
		{"may not impersonate", func(t *testing.T, s *side) *rest.Config {
			config := s.user(t, "mary")
			config.Impersonate = rest.ImpersonationConfig{UserName: "boss"}
			return config
		}, 403, `User \"mary\" cannot impersonate`},
	} {
		t.Run(who.name, func(t *testing.T) {
			var ours harness.Answer
			// The authorizer's informers, and the sample server's cache, are a moment behind.
			a.equal(t, "the answer", func(t *testing.T, s *side) any {
				answer, err := harness.Send(t.Context(), who.config(t, s), http.MethodGet, flunders, "")
				ours = answer
				return told(answer, err)
			})
			if ours.Code != who.code || !strings.Contains(string(ours.Body), who.names) {
				t.Errorf("got %s, want %d that names %s", ours, who.code, who.names)
			}
		})
	}
}

// trust compares what aggregated servers are told to trust, which is the user's
// CAs and never an internal one.
func (a *aggregation) trust(t *testing.T) {
	published := func(t *testing.T, s *side) map[string]string {
		return harness.Must(s.Clientset(t).CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{}))(t).Data
	}
	a.same(t, "the published trust", func(t *testing.T, s *side) any {
		data := published(t, s)
		for key, file := range map[string]string{"client-ca-file": "ca.crt", "requestheader-client-ca-file": "front-proxy-ca.crt"} {
			if want := harness.Must(os.ReadFile(s.dir + "/pki/" + file))(t); data[key] != string(want) {
				t.Errorf("%s: %s is not %s of the data directory:\n%s", s.name, key, file, data[key])
			}
			data[key] = file
		}
		return data
	})
}
