package spine

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// countedFamilies are what one request raises wherever it is served. For a
// histogram its count is meant.
var countedFamilies = []string{
	"apiserver_request_total", "apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds", "apiserver_response_sizes",
	"apiserver_selfrequest_total", "apiserver_request_terminations_total", "apiserver_request_aborts_total", "apiserver_request_filter_duration_seconds",
	"apiserver_flowcontrol_dispatched_requests_total", "apiserver_flowcontrol_rejected_requests_total",
	"authentication_attempts", "authenticated_user_requests", "authentication_duration_seconds",
	"authorization_attempts_total", "authorization_duration_seconds",
	"apiserver_watch_events_total",
}

// metricsOf parses the metrics of an API.
func metricsOf(t *testing.T, api *harness.API, path string) map[string]*dto.MetricFamily {
	t.Helper()
	answer := api.Get(t, path)
	if answer.Code != http.StatusOK {
		t.Fatalf("%s: %s", path, answer)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return harness.Must(parser.TextToMetricFamilies(bytes.NewReader(answer.Body)))(t)
}

// sample is a line of a counter, a gauge or the count of a histogram, with the
// name of the family and the labels.
var sample = regexp.MustCompile(`(?m)^(\w+?)(?:_count)?\{(.*)\} (\S+)$`)

// counts sums the families over the tiers, by name and labels.
func counts(t *testing.T, api *harness.API, families []string) map[string]float64 {
	t.Helper()
	answer := api.Get(t, "/metrics")
	if answer.Code != http.StatusOK {
		t.Fatalf("/metrics: %s", answer)
	}
	sums := map[string]float64{}
	for series, count := range countsIn(answer, families) {
		name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		kept := slices.DeleteFunc(strings.Split(labels, ","), func(label string) bool { return strings.HasPrefix(label, "tier=") })
		sums[name+"{"+strings.Join(kept, ",")+"}"] += count
	}
	return sums
}

// countsIn reads the families from what /metrics says. Parsing all of that would
// take longer than asking for it.
func countsIn(answer harness.Answer, families []string) map[string]float64 {
	found := map[string]float64{}
	for line := range bytes.Lines(answer.Body) {
		if i := bytes.IndexByte(line, '{'); i < 0 || !slices.Contains(families, strings.TrimSuffix(string(line[:i]), "_count")) {
			continue
		}
		parts := sample.FindSubmatch(bytes.TrimSpace(line))
		count, _ := strconv.ParseFloat(string(parts[3]), 64)
		found[string(parts[1])+"{"+string(parts[2])+"}"] = count
	}
	return found
}

// counter measures one API.
type counter struct {
	*harness.API
	// last are the counts when it was asked last.
	last map[string]float64
}

// raisedBy says by how much each of several requests raises which counts. Of the
// few that others send meanwhile nothing is seen.
func (c *counter) raisedBy(t *testing.T, send func()) map[string]float64 {
	t.Helper()
	const times = 10
	if c.last == nil {
		c.last = counts(t, c.API, countedFamilies)
	}
	before := c.last
	for range times {
		send()
	}
	raised := map[string]float64{}
	c.last = counts(t, c.API, countedFamilies)
	for series, count := range c.last {
		if each := math.Round((count - before[series]) / times); each != 0 {
			raised[series] = each
		}
	}
	return raised
}

// Dashboards and alerts go by how often what was asked for, by whom, and with
// what result: a request is one, however many processes it passes.
func TestRequestsAreCountedLikeStocks(t *testing.T) {
	const group = "counted.example.com"
	apis := []*counter{{API: &harness.Shared(t).API}, {API: &harness.SharedStock(t).API}}
	for _, api := range apis {
		installCRD(t, api.API, group)
		createGadget(t, api.API, group, "one")
	}
	nobody := func(config *rest.Config) *rest.Config { return rest.AnonymousClientConfig(config) }
	stranger := func(config *rest.Config) *rest.Config {
		config = nobody(config)
		config.BearerToken = "nobody's"
		return config
	}
	admin := func(config *rest.Config) *rest.Config { return config }
	configs, gadgets, services := "/api/v1/namespaces/default/configmaps", gadgetsPath(group), "/apis/apiregistration.k8s.io/v1/apiservices"
	for name, c := range map[string]struct {
		by           func(*rest.Config) *rest.Config
		method, path string
		body         string
	}{
		"core":                       {admin, "GET", configs + "/kube-root-ca.crt", ""},
		"core, list":                 {admin, "GET", configs, ""},
		"core, missing":              {admin, "GET", configs + "/nothing", ""},
		"core, invalid":              {admin, "POST", configs, "{}"},
		"core, dry run":              {admin, "POST", configs + "?dryRun=All", `{"metadata": {"name": "dry"}}`},
		"core, nobody":               {nobody, "GET", configs, ""},
		"core, stranger":             {stranger, "GET", configs, ""},
		"core, proxy":                {admin, "GET", "/api/v1/namespaces/default/services/nothing/proxy/", ""},
		"core, logs":                 {admin, "GET", "/api/v1/namespaces/default/pods/nothing/log", ""},
		"custom":                     {admin, "GET", gadgets + "/one", ""},
		"custom, list":               {admin, "GET", gadgets, ""},
		"custom, missing":            {admin, "GET", gadgets + "/nothing", ""},
		"custom, unknown resource":   {admin, "GET", "/apis/" + group + "/v1/nothings", ""},
		"custom, invalid":            {admin, "POST", gadgets, "{}"},
		"custom, nobody":             {nobody, "GET", gadgets, ""},
		"custom, stranger":           {stranger, "GET", gadgets, ""},
		"definitions":                {admin, "GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets." + group, ""},
		"APIServices":                {admin, "GET", services + "/v1.apps", ""},
		"APIServices, nobody":        {nobody, "GET", services, ""},
		"APIServices, stranger":      {stranger, "GET", services, ""},
		"unknown group":              {admin, "GET", "/apis/nothing.example.com/v1/things", ""},
		"unknown version":            {admin, "GET", "/apis/apps/v7/deployments", ""},
		"unknown path":               {admin, "GET", "/nothing", ""},
		"health":                     {admin, "GET", "/healthz", ""},
		"readiness":                  {admin, "GET", "/readyz", ""},
		"version":                    {nobody, "GET", "/version", ""},
		"groups":                     {admin, "GET", "/apis", ""},
		"a group":                    {admin, "GET", "/apis/apps", ""},
		"a group version":            {admin, "GET", "/apis/apps/v1", ""},
		"core's group version":       {admin, "GET", "/api/v1", ""},
		"a custom group":             {admin, "GET", "/apis/" + group, ""},
		"a custom group version":     {admin, "GET", "/apis/" + group + "/v1", ""},
		"OpenAPI":                    {admin, "GET", "/openapi/v3", ""},
		"OpenAPI of a group version": {admin, "GET", "/openapi/v3/apis/" + group + "/v1", ""},
		"OpenAPI v2":                 {admin, "GET", "/openapi/v2", ""},
		"OpenAPI of core":            {admin, "GET", "/openapi/v3/api/v1", ""},
		"OpenAPI of APIServices":     {admin, "GET", "/openapi/v3/apis/apiregistration.k8s.io/v1", ""},
		"OpenAPI of definitions":     {admin, "GET", "/openapi/v3/apis/apiextensions.k8s.io/v1", ""},
		"OpenAPI of the version":     {admin, "GET", "/openapi/v3/version", ""},
		"OpenAPI of nothing":         {admin, "GET", "/openapi/v3/apis/nowhere.example.com/v1", ""},
		"metrics":                    {admin, "GET", "/metrics/slis", ""},
		"profiles":                   {admin, "GET", "/debug/pprof/cmdline", ""},
	} {
		t.Run(name, func(t *testing.T) {
			diff := "not compared"
			// What the servers do of their own accord may come in between, once.
			for attempt := 0; diff != "" && attempt < 3; attempt++ {
				var raised [2]map[string]float64
				for i, api := range apis {
					config := c.by(api.Config(t))
					client := harness.Must(rest.HTTPClientFor(config))(t)
					raised[i] = api.raisedBy(t, func() {
						req := harness.Must(http.NewRequestWithContext(t.Context(), c.method, config.Host+c.path, strings.NewReader(c.body)))(t)
						req.Header.Set("Content-Type", "application/json")
						harness.Must(harness.Do(client, req))(t)
					})
				}
				diff = cmp.Diff(raised[1], raised[0])
			}
			if diff != "" {
				t.Errorf("(- stock, + ours)\n%s", diff)
			}
		})
	}
}

// A watch is open once, and counted when it ends, as a request of the process that serves it.
func TestWatchesAreCountedLikeStocks(t *testing.T) {
	const group = "watchcounted.example.com"
	apis := []*harness.API{&harness.Shared(t).API, &harness.SharedStock(t).API}
	for _, api := range apis {
		installCRD(t, api, group)
	}
	for resource, of := range map[string]struct{ path, group string }{
		"gadgets": {gadgetsPath(group), group}, "limitranges": {"/api/v1/namespaces/default/limitranges", ""},
	} {
		path, mine := of.path, fmt.Sprintf(`group=%q`, of.group) // others watch gadgets of theirs
		var seen [2]string
		for i, api := range apis {
			of := func(family string) map[string]float64 {
				counts := counts(t, api, []string{family})
				maps.DeleteFunc(counts, func(series string, n float64) bool {
					return n == 0 || !strings.Contains(series, `resource="`+resource) || !strings.Contains(series, mine) || !strings.Contains(series, `scope="namespace"`) || !strings.Contains(series, `verb="WATCH"`)
				})
				return counts
			}
			_, end := watchBody(t, api, false, path+"?watch=true")
			seen[i] = fmt.Sprintln("open", of("apiserver_longrunning_requests"))
			end()
			harness.Eventually(t, soon, "the watch is counted", func() error {
				if open, ended := of("apiserver_longrunning_requests"), of("apiserver_request_total"); len(open) > 0 || len(ended) == 0 {
					return fmt.Errorf("open are %v, ended %v", open, ended)
				}
				return nil
			})
			seen[i] += fmt.Sprintln("ended", of("apiserver_request_total"))
		}
		if diff := cmp.Diff(seen[1], seen[0]); diff != "" {
			t.Errorf("%s (- stock, + ours)\n%s", resource, diff)
		}
	}
}

// A query that names labels works as on stock.
func TestLabelsOfMetricsAreStocks(t *testing.T) {
	names := func(api *harness.API, path string) map[string][]string {
		all := map[string][]string{}
		for name, family := range metricsOf(t, api, path) {
			found := sets.New[string]()
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					found.Insert(l.GetName())
				}
			}
			all[name] = sets.List(found.Delete("tier"))
		}
		return all
	}
	compared := 0
	for _, path := range []string{"/metrics", "/metrics/slis"} {
		ours, stock := names(&harness.Shared(t).API, path), names(&harness.SharedStock(t).API, path)
		for family, want := range stock {
			if got, found := ours[family]; found {
				compared++
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (- stock, + ours)\n%s", family, diff)
				}
			}
		}
	}
	if compared < 200 {
		t.Errorf("only %d families are compared", compared)
	}
}
