package serving

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// countedTo returns the samples of the requests counter whose resource begins with
// prefix, by resource.
func countedTo(t *testing.T, prefix string) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "apiserver_request_total" {
			continue
		}
		for _, sample := range family.GetMetric() {
			for _, label := range sample.GetLabel() {
				if label.GetName() == "resource" && strings.HasPrefix(label.GetValue(), prefix) {
					found[label.GetValue()] += sample.GetCounter().GetValue()
				}
			}
		}
	}
	return found
}

func askUnserved(path string) {
	Unavailable(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, http.NoBody), "away")
}

// Nobody has judged who asks for what is not served: names that he makes up must
// not fill memory.
func TestWhatIsNotServedIsCountedUnderABoundedNumberOfNames(t *testing.T) {
	metrics.Register()
	metrics.Reset()
	const requests = 3 * maxUnserved
	for i := range requests {
		askUnserved(fmt.Sprintf("/apis/example.org/v1/madeup%d", i))
	}
	names, all := countedTo(t, "madeup"), 0.0
	if len(names) == 0 || len(names) > maxUnserved {
		t.Errorf("%d requests are counted under %d names", requests, len(names))
	}
	for _, n := range countedTo(t, "") {
		all += n
	}
	if all != requests {
		t.Errorf("%v of %d requests are counted", all, requests)
	}
	before := countedTo(t, "madeup0")["madeup0"]
	askUnserved("/apis/example.org/v1/madeup0")
	if now := countedTo(t, "madeup0")["madeup0"]; now != before+1 {
		t.Errorf("what has a name counts %v, then %v", before, now)
	}
}

// A label must be UTF-8, and upstream panics where it is not. A page of it would be
// in every sample.
func TestWhatCannotBeANameIsAnsweredAndCounted(t *testing.T) {
	metrics.Register()
	metrics.Reset()
	for _, path := range []string{"/apis/%ff/v1/things", "/apis/example.org/%ff/things", "/api/v1/%ff", "/api/v1/pods/a/%ff", "/api/v1/" + strings.Repeat("x", 1000)} {
		askUnserved(path)
	}
	if got := countedTo(t, ""); got[""] != 5 || len(got) != 1 {
		t.Errorf("counted are %v", got)
	}
}
