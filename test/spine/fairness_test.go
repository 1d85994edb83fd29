package spine

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"triptych.dev/triptych/test/harness"
)

// The headers by which API Priority and Fairness says what it took a request for.
const (
	flowSchemaHeader    = "X-Kubernetes-Pf-Flowschema-Uid"
	priorityLevelHeader = "X-Kubernetes-Pf-Prioritylevel-Uid"
)

// fairNames maps the UIDs of schemas and levels to their names.
func fairNames(t *testing.T, api *harness.API) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, resource := range []string{"flowschemas", "prioritylevelconfigurations"} {
		var list struct {
			Items []struct{ Metadata struct{ Name, UID string } }
		}
		api.Get(t, "/apis/flowcontrol.apiserver.k8s.io/v1/"+resource).Into(t, &list)
		for _, item := range list.Items {
			names[item.Metadata.UID] = resource + "/" + item.Metadata.Name
		}
	}
	return names
}

// classified is what an answer tells of how it was queued, by names.
func classified(names map[string]string, header http.Header) []string {
	all := []string{}
	for _, name := range []string{flowSchemaHeader, priorityLevelHeader} {
		for _, uid := range header[name] {
			known := names[uid]
			if known == "" {
				known = "unknown " + uid
			}
			all = append(all, known)
		}
	}
	return all
}

// answersTo sends all requests, some of which wait for a second, side by side.
func answersTo(t *testing.T, api *harness.API, who string) map[string]harness.Answer {
	t.Helper()
	var mu sync.Mutex
	answers := map[string]harness.Answer{}
	var group errgroup.Group
	group.SetLimit(8)
	config := api.Config(t)
	for _, r := range fairRequests() {
		group.Go(func() error {
			got, err := sendAs(t.Context(), config, r, who)
			mu.Lock()
			defer mu.Unlock()
			answers[r.method+" "+r.path+" "+r.body] = got
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("by %s: %v", who, err)
	}
	return answers
}

// Every answer says as which flow and at which level the request was queued, once,
// where stock says so, whichever tier serves it; a level whose one seat is
// taken refuses as stock's does.
func TestFairnessLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	ours, stock := &harness.Shared(t).API, &harness.SharedStock(t).API
	for _, api := range []*harness.API{ours, stock} {
		prepareFair(t, api)
	}
	t.Run("classification", func(t *testing.T) {
		holdTheSeat(t, ours)
		holdTheSeat(t, stock)
		named := map[*harness.API]map[string]string{ours: fairNames(t, ours), stock: fairNames(t, stock)}
		for _, who := range append([]string{"hermit"}, slices.Sorted(maps.Keys(fairUsers))...) {
			tell := func(api *harness.API) map[string]string {
				said := map[string]string{}
				for r, got := range answersTo(t, api, who) {
					said[r] = fmt.Sprintf("%d %v", got.Code, classified(named[api], got.Header))
					if retry := got.Header.Get("Retry-After"); (got.Code == http.StatusTooManyRequests) != (retry != "") {
						t.Errorf("%s by %s: %s, Retry-After %q", r, who, got, retry)
					}
				}
				return said
			}
			if diff := cmp.Diff(tell(stock), tell(ours)); diff != "" {
				t.Errorf("by %s (- stock, + ours)\n%s", who, firstLines(diff, 60))
			}
		}
	})
	t.Run("refusal", func(t *testing.T) {
		holdTheSeat(t, ours)
		holdTheSeat(t, stock)
		for _, path := range []string{"/api/v1/configmaps", "/apis/" + fairGroup + "/v1/gadgets?watch=true", "/apis/apiregistration.k8s.io/v1/apiservices", "/apis/behind.example.com/v1/things", "/version"} {
			tell := func(api *harness.API) any {
				got := harness.Must(sendAs(t.Context(), api.Config(t), request{"", http.MethodGet, path, "", nil}, "hermit"))(t)
				for _, name := range []string{"Date", "Audit-Id", flowSchemaHeader, priorityLevelHeader, "Retry-After"} {
					if len(got.Header[name]) != 1 {
						t.Errorf("%s: %s is %q", path, name, got.Header[name])
					}
					delete(got.Header, name)
				}
				return fmt.Sprintln(got, got.Header)
			}
			if diff := cmp.Diff(tell(stock), tell(ours)); diff != "" {
				t.Errorf("%s (- stock, + ours)\n%s", path, diff)
			}
		}
	})
	t.Run("once", func(t *testing.T) { queuesOnce(t, ours) })
	t.Run("dumps", func(t *testing.T) { showsItsQueues(t, ours, stock) })
}

// showsItsQueues compares what each tier tells about its levels with what stock does.
func showsItsQueues(t *testing.T, ours, stock *harness.API) {
	const dumps = "/debug/api_priority_and_fairness/"
	for _, dump := range []string{"dump_priority_levels", "dump_queues", "dump_requests", "dump_requests?includeRequestDetails=1"} {
		tell := func(api *harness.API, prefix string) any {
			got := api.Get(t, prefix+dumps+dump)
			all := strings.Split(strings.TrimSpace(string(got.Body)), "\n")
			levels := map[string]bool{}
			for _, line := range all[1:] {
				name, _, _ := strings.Cut(line, ",")
				levels[strings.TrimSpace(name)] = !strings.Contains(dump, "requests")
			}
			if strings.Contains(dump, "requests") {
				levels = nil // this one among them, as a rule
			}
			return fmt.Sprint(got.Code, got.Header["Content-Type"], strings.Fields(all[0]), levels)
		}
		want := tell(stock, "")
		for _, prefix := range []string{"", "/debug/tiers/aggregator", "/debug/tiers/core", "/debug/tiers/extensions"} {
			harness.Eventually(t, soon, prefix+" shows the levels that stock does", func() error {
				if diff := cmp.Diff(want, tell(ours, prefix)); diff != "" {
					return fmt.Errorf("%s: (- stock, + ours)\n%s", dump, diff)
				}
				return nil
			})
		}
	}
}

// queuesOnce demands that a request is queued by the tier that serves it alone.
func queuesOnce(t *testing.T, ours *harness.API) {
	for path, tier := range map[string]string{
		fairPaths[0]: "core", fairPaths[1]: "extensions", fairPaths[2]: "aggregator",
		"/nothing": "core", "/apis/nothing.example.com/v1/things": "extensions", "/apis/behind.example.com/v1/things": "aggregator",
	} {
		before := byTier(t, ours, "dispatched_requests_total", "fair")
		const many = 10
		for range many {
			harness.Must(sendAs(t.Context(), ours.Config(t), request{"", http.MethodGet, path, "", nil}, "jane"))(t)
		}
		for name, n := range byTier(t, ours, "dispatched_requests_total", "fair") {
			want := 0
			if name == tier {
				want = many
			}
			if got := n - before[name]; got != want {
				t.Errorf("%s: %d requests were queued in %s, want %d", path, got, name, want)
			}
		}
	}
}

// byTier reads what the tiers say of a priority level.
func byTier(t *testing.T, api *harness.API, metric, level string) map[string]int {
	t.Helper()
	values := map[string]int{}
	for line := range strings.Lines(string(api.Get(t, "/metrics").Body)) {
		labels, ok := strings.CutPrefix(line, "apiserver_flowcontrol_"+metric+"{")
		if !ok || !strings.Contains(labels, `priority_level="`+level+`"`) {
			continue
		}
		_, tier, _ := strings.Cut(labels, `tier="`)
		tier, _, _ = strings.Cut(tier, `"`)
		_, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		values[tier] += harness.Must(strconv.Atoi(value))(t)
	}
	return values
}
