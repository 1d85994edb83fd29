package spine

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// tracedSide is an API and who collects its traces.
type tracedSide struct {
	*side
	collector *harness.Collector
}

// startTraced starts both APIs with a collector each. All requests are sampled.
func startTraced(t *testing.T) (ours, stock *tracedSide) {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	files := harness.TempDir(t)
	collected := func(name string) (*harness.Collector, string) {
		c := harness.StartCollector(t)
		harness.WriteFile(t, files+"/"+name, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: "+c.Address+
			"\nsamplingRatePerMillion: 1000000\n"), 0o600)
		return c, "--tracing-config-file=" + files + "/" + name
	}
	oursCollector, oursFlag := collected("ours")
	stockCollector, stockFlag := collected("stock")
	c := harness.Run(t, harness.Options{Args: []string{oursFlag}})
	s := harness.RunStock(t, stockFlag)
	return &tracedSide{&side{API: &c.API, name: "ours", dir: c.Dir}, oursCollector}, &tracedSide{&side{API: &s.API, name: "stock", dir: s.Dir}, stockCollector}
}

// trace sends a request whose client traces it, and returns the spans of the
// trace that the API made of it, once the last is there: the one whose parent or
// link is the client's.
func (s *tracedSide) trace(t *testing.T, config *rest.Config, path, id string, tiers ...string) (first harness.Span, all []harness.Span) {
	t.Helper()
	answer := harness.Must(harness.Send(t.Context(), config, http.MethodGet, path, "", "Traceparent", "00-"+id+"-00000000000000aa-01"))(t)
	harness.Eventually(t, soon, "the trace is collected", func() error {
		of := s.collector.Spans(func(span harness.Span) bool {
			return span.Attributes["http.target"] == path && (span.Trace == id && span.Parent == "00000000000000aa" || slices.Contains(span.Links, id+"/00000000000000aa"))
		})
		if len(of) != 1 {
			return fmt.Errorf("%d spans are the client's (%s)", len(of), answer)
		}
		first = of[0]
		all = s.collector.Spans(func(span harness.Span) bool { return span.Trace == first.Trace })
		for _, span := range all {
			if span.Parent != "" && span.Parent != "00000000000000aa" && !slices.ContainsFunc(all, func(p harness.Span) bool { return p.ID == span.Parent }) {
				return fmt.Errorf("the parent of %s is missing", span.Name)
			}
		}
		// Each process sends its spans when it likes, the outermost last.
		for _, tier := range tiers {
			if !slices.ContainsFunc(all, func(span harness.Span) bool { return span.Resource["triptych.tier"] == tier }) {
				return fmt.Errorf("%s has not sent its spans", tier)
			}
		}
		return nil
	})
	return first, all
}

func names(spans []harness.Span) sets.Set[string] {
	all := sets.New[string]()
	for _, s := range spans {
		all.Insert(s.Name)
	}
	return all
}

// A request is one trace from the head to etcd, which holds every span of
// stock's and says which process each is of. It continues a privileged client's,
// and links to anybody else's.
func TestOneTraceFromTheHeadToEtcd(t *testing.T) {
	const group = "traced.example.com"
	ours, stock := startTraced(t)
	admins, others := map[*tracedSide]*rest.Config{}, map[*tracedSide]*rest.Config{}
	for _, s := range []*tracedSide{ours, stock} {
		installCRD(t, s.API, group)
		s.Kubectl(t, "wait", "--for=create", "--timeout=60s", "namespace/default")
		admins[s], others[s] = s.user(t, "root", "system:masters"), s.user(t, "jane")
		s.apply(t, `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: traced}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}
`)
		s.apply(t, harness.ExternalService("recorded", "backend"))
		s.recorded(t, recordedGroup, "http/1.1")
	}
	request := 0
	for what, c := range map[string]struct {
		path  string
		tiers []string
		etcd  bool
	}{
		"core":        {"/api/v1/namespaces/default/configmaps?limit=7", []string{"aggregator", "core"}, true},
		"custom":      {gadgetsPath(group) + "?limit=7", []string{"aggregator", "extensions"}, true},
		"APIServices": {"/apis/apiregistration.k8s.io/v1/apiservices?limit=7", []string{"aggregator"}, true},
		"aggregated":  {"/apis/" + recordedGroup + "/v1/namespaces/default/things", []string{"aggregator"}, false},
		"unknown":     {"/apis/nothing.example.com/v1/things", []string{"aggregator", "core", "extensions"}, false},
	} {
		for who, by := range map[string]map[*tracedSide]*rest.Config{"a privileged client": admins, "another": others} {
			t.Run(what+" "+who, func(t *testing.T) {
				request++
				id := fmt.Sprintf("%032x", request)
				_, want := stock.trace(t, by[stock], c.path, id)
				first, got := ours.trace(t, by[ours], c.path, id, c.tiers...)
				if missing := sets.List(names(want).Difference(names(got))); len(missing) > 0 {
					t.Errorf("no span %q among %q", missing, sets.List(names(got)))
				}
				if (first.Trace == id) != (who == "a privileged client") || first.Resource["triptych.tier"] != "aggregator" {
					t.Errorf("the first span is %+v", first)
				}
				tiers, etcd := sets.New[string](), ""
				for _, span := range got {
					tier := span.Resource["triptych.tier"]
					tiers.Insert(tier)
					if span.Resource["service.name"] != "apiserver" || span.Resource["triptych.replica"] != tier+"-0" || !strings.HasSuffix(span.Resource["service.instance.id"], tier+"-0") {
						t.Errorf("%s is of %v", span.Name, span.Resource)
					}
					if strings.HasPrefix(span.Name, "etcdserverpb.KV/") {
						etcd = tier
					}
				}
				if !slices.Equal(sets.List(tiers), slices.Sorted(slices.Values(c.tiers))) {
					t.Errorf("spans are of %v, want %v", sets.List(tiers), c.tiers)
				}
				if c.etcd != (etcd != "") || c.etcd && etcd != c.tiers[len(c.tiers)-1] {
					t.Errorf("etcd is asked by %q", etcd)
				}
			})
		}
	}
}
