package spine

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// What Prometheus scrapes from the head are the metrics of every tier.
func TestTheHeadShowsTheMetricsOfEveryTier(t *testing.T) {
	c := harness.Shared(t)
	for _, path := range []string{"/metrics", "/metrics/slis"} {
		answer := c.Get(t, path)
		if answer.Code != http.StatusOK {
			t.Fatalf("%s: %s", path, answer)
		}
		for _, tier := range []string{"core", "extensions", "aggregator"} {
			if !strings.Contains(string(answer.Body), `tier="`+tier+`"`) {
				t.Errorf("%s has no sample of %s", path, tier)
			}
			if line := `triptych_tier_up{tier="` + tier + `"} 1`; path == "/metrics" && !strings.Contains(string(answer.Body), line) {
				t.Errorf("%s lacks %s", path, line)
			}
			if one := c.Get(t, "/debug/tiers/"+tier+path); one.Code != http.StatusOK || strings.Contains(string(one.Body), `tier="`) {
				t.Errorf("%s alone: %d", tier, one.Code)
			}
		}
	}
	// What is judged as a path below /debug must not lead to objects.
	for _, path := range []string{"/debug/tiers/core/api/v1/secrets", "/debug/tiers/core/metrics/../api/v1/secrets", "/debug/tiers/nobody/metrics"} {
		if answer := c.Get(t, path); answer.Code == http.StatusOK {
			t.Errorf("%s: %s", path, answer)
		}
	}
}

// family is "name type".
var family = regexp.MustCompile(`(?m)^# TYPE (\S+ \S+)$`)

func families(text []byte) sets.Set[string] {
	all := sets.New[string]()
	for _, match := range family.FindAllSubmatch(text, -1) {
		all.Insert(string(match[1]))
	}
	return all
}

// Whoever has dashboards and alerts for kube-apiserver finds every family that
// it has, with its type. What is on top is ours.
func TestMetricFamiliesLikeStock(t *testing.T) {
	c, stock := harness.Shared(t), harness.SharedStock(t)
	const group = "measured.example.com"
	for _, api := range []*harness.API{&c.API, &stock.API} {
		installCRD(t, api, group)
		createGadget(t, api, group, "one")
		api.Kubectl(t, "get", "apiservices,namespaces,gadgets."+group)
		api.Get(t, "/openapi/v2")
	}
	for _, path := range []string{"/metrics", "/metrics/slis"} {
		want, got := families(stock.Get(t, path).Body), families(c.Get(t, path).Body)
		if missing := sets.List(want.Difference(got)); len(missing) > 0 || want.Len() == 0 {
			t.Errorf("%s lacks %q", path, missing)
		}
		for _, more := range sets.List(got.Difference(want)) {
			if !strings.HasPrefix(more, "triptych_") {
				t.Logf("%s has %s on top", path, more)
			}
		}
	}
}

// documented finds the families of ours in docs/reference/metrics.md.
var documented = regexp.MustCompile("(?m)^\\| `(triptych_\\w+)`")

// Whoever meets a metric of ours can look it up, and finds what is promised.
func TestEveryMetricOfOursIsDocumented(t *testing.T) {
	c := harness.Shared(t)
	c.Kubectl(t, "get", "namespaces,customresourcedefinitions") // the hops are made
	in := insideOf(t, c)
	if got, err := get(t, in.tiers[tier.Core].Hop, in.config(tier.Core, certificate(t, c, "internal/extensions-self")), "/api/v1/secrets", nil); err != nil || got.Code != http.StatusForbidden { // and one call of a tier's own is refused
		t.Fatalf("extensions asks core for Secrets: %s %v", got, err)
	}
	areDocumented(t, &c.API, func(name string) bool {
		return !strings.HasPrefix(name, "triptych_ssh_") && !strings.HasPrefix(name, "triptych_snapshot_") && !strings.HasPrefix(name, ofTheSupervisor)
	})
	for series, n := range countsIn(c.Get(t, "/metrics"), []string{"triptych_hop_request_duration_seconds", "triptych_hop_transit_duration_seconds"}) {
		if n == 0 && (strings.Contains(series, "answered") && strings.Contains(series, `tier="aggregator"`) || strings.Contains(series, "transit")) {
			t.Errorf("%s is 0", series)
		}
	}
}

// areDocumented demands that our families of a kind are those of the document.
func areDocumented(t *testing.T, api *harness.API, ofKind func(name string) bool) {
	t.Helper()
	namesAreDocumented(t, slices.Collect(maps.Keys(metricsOf(t, api, "/metrics"))), ofKind)
}

func namesAreDocumented(t *testing.T, names []string, ofKind func(name string) bool) {
	t.Helper()
	want, got := sets.New[string](), sets.New[string]()
	for _, match := range documented.FindAllSubmatch(harness.Must(os.ReadFile("../../docs/reference/metrics.md"))(t), -1) {
		if ofKind(string(match[1])) {
			want.Insert(string(match[1]))
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "triptych_") && ofKind(name) {
			got.Insert(name)
		}
	}
	if undocumented, missing := sets.List(got.Difference(want)), sets.List(want.Difference(got)); len(undocumented)+len(missing) > 0 || len(got) == 0 {
		t.Errorf("not documented: %q, documented but not there: %q", undocumented, missing)
	}
}
