package spine

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// floodObjects are a level for who floods, which queues nobody, and a webhook that
// keeps the flood's writes waiting.
const floodObjects = `---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: flood}
spec: {type: Limited, limited: {nominalConcurrencyShares: 30, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: flood}
spec:
  priorityLevelConfiguration: {name: flood}
  matchingPrecedence: 20
  rules: [{subjects: [{kind: User, user: {name: flooder}}], resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"]}]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: flood}
webhooks: [{name: hold.flood.example.com, clientConfig: {url: "URL/hang", caBundle: BUNDLE}, rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}],
  matchConditions: [{name: flooder, expression: request.userInfo.username == "flooder"}], admissionReviewVersions: [v1], sideEffects: None, timeoutSeconds: 30}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: flood}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: User, name: flooder}, {kind: User, name: jane}]
`

// flooded is a cluster with them, and with custom resources that a webhook converts.
type flooded struct {
	*harness.Cluster
	hook *harness.Webhook
	// joined counts who was given rights.
	joined int
}

func newFlooded(t *testing.T) *flooded {
	t.Helper()
	f := &flooded{Cluster: harness.Run(t, harness.Options{Args: []string{
		"--tier-flag=extensions=max-requests-inflight=40", "--tier-flag=extensions=max-mutating-requests-inflight=20",
	}}), hook: harness.StartWebhook(t, "hooks.hooked.svc")}
	b := &beside{API: &f.API, hook: f.hook}
	all := strings.NewReplacer("PORT", fmt.Sprint(f.hook.Port), "URL", f.hook.URL, "BUNDLE", f.hook.Bundle()).Replace(hookedObjects + floodObjects)
	for _, kind := range []string{"hanging", "byapi"} {
		all += "---\n" + strings.NewReplacer("KIND", kind, "CLIENT", b.converters()[kind]).Replace(convertedCRD)
	}
	f.KubectlInput(t, all, "create", "-f", "-")
	f.Kubectl(t, "wait", "--for=condition=Available", "--timeout=60s", "apiservice", "v1.hooks.example.com")
	for _, kind := range []string{"hanging", "byapi"} {
		served(t, &f.API, convertedPath(kind, "v1"))
		create := request{"", http.MethodPost, convertedPath(kind, "v1"), convertedObject(kind, "v1", "one", "size", 1), nil}
		if got := create.send(t, b); got.Code != http.StatusCreated {
			t.Fatal(got)
		}
	}
	return f
}

// flood is 200 clients at once that do as they are told by Retry-After.
type flood struct {
	mu      sync.Mutex
	refused int
	bad     []string
}

// begin starts one that sends r until the test ends, and returns once some of it
// waits for the webhook and some of it is refused.
func (f *flooded) begin(t *testing.T, r request) *flood {
	t.Helper()
	f.hook.Forget()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	all, config := &flood{}, f.as(t, "flooder")
	var clients sync.WaitGroup
	t.Cleanup(clients.Wait)
	t.Cleanup(cancel)
	for range 200 {
		clients.Go(func() {
			for ctx.Err() == nil {
				answer, err := harness.Send(ctx, config, r.method, r.path, r.body, "Content-Type", "application/json")
				after := all.count(answer, err)
				select {
				case <-ctx.Done():
				case <-time.After(after):
				}
			}
		})
	}
	harness.Eventually(t, soon, "the flood fills its seats", func() error {
		all.mu.Lock()
		defer all.mu.Unlock()
		if asked := len(f.hook.Asked()); asked < 5 || all.refused < 100 {
			return fmt.Errorf("%d wait, %d were refused", asked, all.refused)
		}
		return nil
	})
	return all
}

// count returns when to come again.
func (l *flood) count(answer harness.Answer, err error) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	after, bad := strconv.Atoi(answer.Header.Get("Retry-After"))
	switch {
	case err == nil && answer.Code == http.StatusTooManyRequests && bad == nil:
		l.refused++
	case err == nil && answer.Code == http.StatusTooManyRequests:
		l.bad = append(l.bad, fmt.Sprint(answer, answer.Header))
	}
	return max(time.Duration(after)*time.Second, time.Second)
}

// as is a client of the user.
func (f *flooded) as(t *testing.T, user string) *rest.Config {
	t.Helper()
	config := f.Config(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	return config
}

// works has somebody else use the paths, and demands that every request succeeds.
func (f *flooded) works(t *testing.T, paths ...string) {
	t.Helper()
	config := f.as(t, "jane")
	for _, path := range paths {
		var took []time.Duration
		for range 25 {
			began := time.Now()
			got, err := harness.Send(t.Context(), config, http.MethodGet, path, "")
			if err != nil || got.Code != http.StatusOK {
				t.Fatalf("GET %s: %s %v", path, got, err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("GET %s: median %v, worst %v", path, took[len(took)/2], took[len(took)-1])
	}
}

// learns gives somebody rights, which counts where path is served only once the
// tier's own calls have told it.
func (f *flooded) learns(t *testing.T, path string) {
	t.Helper()
	f.joined++
	who := fmt.Sprintf("newcomer-%d", f.joined)
	f.Kubectl(t, "create", "clusterrolebinding", who, "--clusterrole=cluster-admin", "--user="+who)
	config := f.as(t, who)
	harness.Eventually(t, soon, who+" may GET "+path, func() error {
		got, err := harness.Send(t.Context(), config, http.MethodGet, path, "")
		if err == nil && got.Code != http.StatusOK {
			err = fmt.Errorf("%s", got)
		}
		return err
	})
}

// A tier that is flooded refuses the flood, and costs neither other users of it nor
// the other tiers, nor what the tiers ask one another.
func TestFloodedTierStarvesNobody(t *testing.T) {
	t.Parallel() // it waits more than it works
	f := newFlooded(t)
	const maps, services = "/api/v1/namespaces/hooked/configmaps", "/apis/apiregistration.k8s.io/v1/apiservices"
	t.Run("seats", func(t *testing.T) {
		harness.Eventually(t, soon, "each tier divides its own seats", func() error {
			// The levels of stock and flood's have 275 shares, 30 of them the flood's.
			if got, want := byTier(t, &f.API, "nominal_limit_seats", "flood"), "map[aggregator:66 core:66 extensions:7]"; fmt.Sprint(got) != want {
				return fmt.Errorf("%v, want %s", got, want)
			}
			return nil
		})
	})
	for _, flood := range []request{
		{"extensions", http.MethodGet, convertedPath("hanging", "v2") + "/one", "", nil},
		{"core", http.MethodPost, maps + "?dryRun=All", `{"metadata": {"name": "held"}}`, nil},
	} {
		t.Run(flood.what, func(t *testing.T) {
			all := f.begin(t, flood)
			f.works(t, maps, services, convertedPath("hanging", "v1")+"/one", convertedPath("byapi", "v2")+"/one")
			f.learns(t, maps)
			f.learns(t, convertedPath("hanging", "v1"))
			f.learns(t, services)
			all.mu.Lock()
			defer all.mu.Unlock()
			t.Logf("%d refused", all.refused)
			if len(all.bad) > 0 {
				t.Errorf("refused without a Retry-After: %s", all.bad[0])
			}
		})
	}
	t.Run("own calls", func(t *testing.T) { tiersAskWithoutASeat(t, f) })
}
