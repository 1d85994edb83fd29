package exposition

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"triptych.dev/triptych/internal/tier"
)

// counting is a tier with one counter, which has the given label.
func counting(name string, value float64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		family := &dto.MetricFamily{
			Name: proto.String("requests_total"), Type: dto.MetricType_COUNTER.Enum(),
			Metric: []*dto.Metric{{
				Label:   []*dto.LabelPair{{Name: proto.String("code"), Value: proto.String(name)}, {Name: proto.String("verb"), Value: proto.String("GET")}},
				Counter: &dto.Counter{Value: proto.Float64(value)},
			}},
		}
		_ = expfmt.NewEncoder(w, expfmt.Negotiate(r.Header)).Encode(family)
	})
}

func get(t *testing.T, handler http.Handler, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func want(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

// The label stands where the order of names has it, and each tier keeps its own
// samples of a family that both have.
func TestSamplesOfEveryTierAreThereUnderItsName(t *testing.T) {
	head := New(tier.Aggregator, http.NotFoundHandler(), Tier{Name: tier.Core, Judged: counting("200", 3)}, Tier{Name: tier.Extensions, Judged: counting("404", 5)})
	got := get(t, head, metricsPath)
	want(t, got, `requests_total{code="200",tier="core",verb="GET"} 3`, `requests_total{code="404",tier="extensions",verb="GET"} 5`,
		`triptych_tier_up{tier="aggregator"} 1`, `triptych_tier_up{tier="core"} 1`, `triptych_tier_up{tier="extensions"} 1`)
	if strings.Count(got, "# TYPE requests_total counter") != 1 {
		t.Error("the family is not there once")
	}
	if !strings.Contains(got, `{tier="aggregator"`) {
		t.Error("nothing of the head's own")
	}
}

// A tier that cannot tell costs the scrape its own samples alone.
func TestATierThatDoesNotTellIsLeftOut(t *testing.T) {
	for name, handler := range map[string]http.Handler{
		"refuses":    http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }),
		"breaks off": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"babbles":    http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\x0fnonsense")) }),
	} {
		t.Run(name, func(t *testing.T) {
			head := New(tier.Aggregator, http.NotFoundHandler(), Tier{Name: tier.Core, Judged: handler}, Tier{Name: tier.Extensions, Judged: counting("404", 5)})
			want(t, get(t, head, metricsPath), `requests_total{code="404",tier="extensions",verb="GET"} 5`, `triptych_tier_up{tier="core"} 0`)
		})
	}
}

// A tier may hang until the scrape's time is up, and no longer.
func TestATierIsAskedForABoundedTime(t *testing.T) {
	asked := errors.New("not asked")
	hangs := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, bounded := r.Context().Deadline(); bounded {
			asked = nil
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	get(t, New(tier.Aggregator, http.NotFoundHandler(), Tier{Name: tier.Core, Judged: hangs}), metricsPath)
	if asked != nil {
		t.Error("asked without a deadline")
	}
}

// Tiers of different versions may differ, and the rest is still worth having.
func TestAFamilyOfAnotherTypeIsLeftOut(t *testing.T) {
	gauge := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		family := &dto.MetricFamily{Name: proto.String("requests_total"), Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: proto.Float64(1)}}}}
		_ = expfmt.NewEncoder(w, expfmt.Negotiate(r.Header)).Encode(family)
	})
	got := get(t, New(tier.Aggregator, http.NotFoundHandler(), Tier{Name: tier.Core, Judged: counting("200", 3)}, Tier{Name: tier.Extensions, Judged: gauge}), metricsPath)
	want(t, got, `requests_total{code="200",tier="core",verb="GET"} 3`)
	if strings.Contains(got, `requests_total{tier="extensions"} 1`) {
		t.Error("a gauge among counters")
	}
}

// Who may read below /debug is not allowed everything that a judged request reaches.
func TestOnlyWhatATierTellsOfItselfIsShown(t *testing.T) {
	core := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "core "+r.URL.Path) })
	head := New(tier.Aggregator, http.NotFoundHandler(), Tier{Name: tier.Core, Judged: core})
	for path, shown := range map[string]bool{
		"/debug/tiers/core/metrics": true, "/debug/tiers/core/metrics/slis": true, "/debug/tiers/core/flagz": true,
		"/debug/tiers/core/statusz": true, "/debug/tiers/core/debug/pprof/": true, "/debug/tiers/core/debug/pprof/heap": true,
		"/debug/tiers/core/api/v1/secrets": false, "/debug/tiers/core/metrics/../api/v1/secrets": false, "/debug/tiers/core/metricsx": false,
		"/debug/tiers/core//metrics": false, "/debug/tiers/core/": false, "/debug/tiers/core": false, "/debug/tiers/nobody/metrics": false,
		"/debug/tiers/core/debug/pprof//../../api": false,
	} {
		if got := get(t, head, path); (got == "core "+strings.TrimPrefix(path, "/debug/tiers/core")) != shown {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestEverythingElseIsLeftToTheServer(t *testing.T) {
	here := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "here "+r.URL.Path) })
	for _, path := range []string{"/api/v1/pods", "/metricsx", "/metrics/", "/debug/pprof/heap"} {
		if got := get(t, New(tier.Aggregator, here), path); got != "here "+path {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// DELETE resets what every tier has counted.
func TestDeleteReachesEveryTier(t *testing.T) {
	var reached []string
	record := func(name string) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached = append(reached, name+" "+r.Method) })
	}
	head := New(tier.Aggregator, record("head"), Tier{Name: tier.Core, Judged: record("core")})
	head.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, metricsPath, nil))
	if strings.Join(reached, ", ") != "core DELETE, head DELETE" {
		t.Errorf("reached are %v", reached)
	}
}

func TestEveryReplicaIsThereUnderItsName(t *testing.T) {
	core := map[string]http.Handler{"core-0": counting("200", 3), "core-1": counting("200", 4)}
	head := New(tier.Aggregator, http.NotFoundHandler(),
		Tier{Name: tier.Core, Judged: counting("500", 1), Each: func() map[string]http.Handler { return core }},
		Tier{Name: tier.Extensions, Judged: counting("404", 5), Each: func() map[string]http.Handler { return map[string]http.Handler{"extensions-0": http.NotFoundHandler()} }})
	got := get(t, head, metricsPath)
	want(t, got, `requests_total{code="200",replica="core-0",tier="core",verb="GET"} 3`, `requests_total{code="200",replica="core-1",tier="core",verb="GET"} 4`,
		`requests_total{code="404",tier="extensions",verb="GET"} 5`, `triptych_tier_up{replica="core-1",tier="core"} 1`, `triptych_tier_up{tier="extensions"} 1`)
	if one := get(t, head, tiersPath+"core-1/metrics"); !strings.Contains(one, "} 4") {
		t.Errorf("of core-1 alone: %s", one)
	}
}
