package spine

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// gate is one sample of kubernetes_feature_enabled.
var gate = regexp.MustCompile(`(?m)^kubernetes_feature_enabled\{(.*)\} (\d)$`)

// gatesOf returns by tier ("" is stock) the gates as "name=...,stage=...": value.
func gatesOf(t *testing.T, api *harness.API) map[string]map[string]string {
	t.Helper()
	gates := map[string]map[string]string{}
	for _, m := range gate.FindAllStringSubmatch(string(api.Get(t, "/metrics").Body), -1) {
		tier, labels := "", []string{}
		for label := range strings.SplitSeq(m[1], ",") {
			if of, ok := strings.CutPrefix(label, `tier=`); ok {
				tier = strings.Trim(of, `"`)
				continue
			}
			labels = append(labels, label)
		}
		if gates[tier] == nil {
			gates[tier] = map[string]string{}
		}
		gates[tier][strings.Join(labels, ",")] = m[2]
	}
	return gates
}

// Feature gates, the emulated version and what is served of the API at all are
// given once, and count in every process as in stock's one.
func TestSettingsCountInEveryTierAsInStock(t *testing.T) {
	t.Parallel() // two servers start
	flags := []string{"--emulated-version=1.36", "--feature-gates=CBORServingAndStorage=true", "--runtime-config=api/beta=true,batch/v1=false"}
	c, stock := harness.Run(t, harness.Options{Args: flags}), harness.RunStock(t, flags...)
	const group = "settings.example.com"
	for _, api := range []*harness.API{&c.API, &stock.API} {
		installCRD(t, api, group)
	}
	t.Run("feature gates", func(t *testing.T) {
		want := gatesOf(t, &stock.API)[""]
		gates := gatesOf(t, &c.API)
		for _, tier := range []string{"aggregator", "core", "extensions"} {
			if len(gates[tier]) == 0 {
				t.Errorf("%s tells of no feature gate", tier)
			}
			for name, value := range gates[tier] {
				if want[name] != value {
					t.Errorf("%s has %s %s, stock %q", tier, name, value, want[name])
				}
			}
		}
		if diff := cmp.Diff(want, gates["core"]); diff != "" {
			t.Errorf("core's gates (- stock, + ours)\n%s", diff)
		}
	})
	documents := both{ours: &c.API, stock: &stock.API}
	documents.agree(t, "what is served", func(api *harness.API) any { return groupVersions(t, api) })
	documents.agree(t, "the version", func(api *harness.API) any {
		var version map[string]any
		api.Get(t, "/version").Into(t, &version)
		for name := range version {
			if strings.HasPrefix(name, "git") || name == "buildDate" {
				delete(version, name)
			}
		}
		return version
	})
	for _, path := range []string{
		"/api/v1/namespaces/default", "/apis/batch/v1/jobs", gadgetsPath(group), "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps",
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets." + group,
	} {
		documents.agree(t, "CBOR of "+path, func(api *harness.API) any {
			answer := api.Get(t, path, "Accept", "application/cbor")
			if answer.Code == http.StatusOK && json.Valid(answer.Body) {
				t.Errorf("%s is JSON", path)
			}
			return []any{answer.Code, answer.Header.Get("Content-Type")}
		})
	}
}
