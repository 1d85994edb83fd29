package spine

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// Dashboards and alerts go by how often what was asked for.
func TestDocumentsAreCountedLikeStocks(t *testing.T) {
	ours, stock := &harness.Shared(t).API, &harness.SharedStock(t).API
	for _, path := range []string{
		"/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1", "/openapi/v3/apis/apiregistration.k8s.io/v1",
		"/openapi/v3/apis/apiextensions.k8s.io/v1", "/openapi/v3/version", "/openapi/v3/apis/nowhere.example.com/v1", "/apis", "/apis/apps", "/version",
	} {
		if diff := cmp.Diff(countedFor(t, stock, path), countedFor(t, ours, path)); diff != "" {
			t.Errorf("%s (- stock, + ours)\n%s", path, diff)
		}
	}
}

// countedFor says by how much one request for path raises which counts. Of the
// few that others send meanwhile nothing is seen.
func countedFor(t *testing.T, api *harness.API, path string) map[string]float64 {
	t.Helper()
	const times = 50
	before := requestCounts(t, api)
	for range times {
		api.Get(t, path)
	}
	raised := map[string]float64{}
	for series, count := range requestCounts(t, api) {
		if each := math.Round((count - before[series]) / times); each > 0 {
			raised[series] = each
		}
	}
	return raised
}

func requestCounts(t *testing.T, api *harness.API) map[string]float64 {
	t.Helper()
	answer := api.Get(t, "/metrics")
	if answer.Code != http.StatusOK {
		t.Fatalf("/metrics: %s", answer)
	}
	counts := map[string]float64{}
	for _, line := range lines(string(answer.Body)) {
		if series, count, ok := strings.Cut(line, "} "); ok && strings.HasPrefix(series, "apiserver_request_total{") {
			counts[series] = harness.Must(strconv.ParseFloat(count, 64))(t)
		}
	}
	return counts
}
