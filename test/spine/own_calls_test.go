package spine

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// jail leaves all users who are not exempt one seat of each tier.
const jail = `apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: jail}
spec: {type: Limited, limited: {nominalConcurrencyShares: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: jail}
spec:
  priorityLevelConfiguration: {name: jail}
  matchingPrecedence: 2
  rules: [{subjects: [{kind: Group, group: {name: "system:authenticated"}}, {kind: Group, group: {name: "system:unauthenticated"}}],
    resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], clusterScope: true, namespaces: ["*"]}], nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]}]
`

// tiersAskWithoutASeat takes the last seat of core and the head for as long as the
// other tiers start anew, which takes all that they ask.
func tiersAskWithoutASeat(t *testing.T, f *flooded) {
	f.KubectlInput(t, jail, "create", "-f", "-")
	ctx, cancel := context.WithCancel(t.Context())
	var holders sync.WaitGroup
	t.Cleanup(holders.Wait)
	t.Cleanup(cancel)
	held := map[string]string{
		"/api/v1/namespaces/hooked/configmaps": `{"metadata": {"name": "held"}}`,
		"/apis/apiregistration.k8s.io/v1/apiservices": `{"metadata": {"name": "v1.held.example.com"},
			"spec": {"group": "held.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}`,
	}
	flooder, jane := f.as(t, "flooder"), f.as(t, "jane")
	for path, body := range held {
		holders.Go(func() {
			for ctx.Err() == nil {
				harness.Send(ctx, flooder, http.MethodPost, path+"?dryRun=All", body, "Content-Type", "application/json")
			}
		})
		harness.Eventually(t, soon, "the seat is taken where "+path+" is served", func() error {
			got, err := harness.Send(ctx, jane, http.MethodGet, path, "")
			if err == nil && got.Code != http.StatusTooManyRequests {
				err = fmt.Errorf("%s", got)
			}
			return err
		})
	}
	for _, tier := range []string{"extensions", "aggregator"} {
		kill(t, f.Cluster, tier)
	}
	if got := f.Get(t, convertedPath("byapi", "v2")+"/one"); got.Code != http.StatusOK {
		t.Errorf("a conversion by an API behind the head: %s", got)
	}
	if got := f.Get(t, "/apis/hooks.example.com/v1"); got.Code != http.StatusOK {
		t.Errorf("an API behind the head: %s", got)
	}
}
