package watching

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/promqltest"
	"sigs.k8s.io/yaml"
)

const deploy = "../../deploy"

func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, err := Rules(deploy)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if all[rule.Alert].Alert != "" {
				t.Errorf("%s is there twice", rule.Alert)
			}
			all[rule.Alert] = rule
		}
	}
	return all
}

func TestAlertsSayWhatToDo(t *testing.T) {
	for name, rule := range alerts(t) {
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q", name, s)
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s says only %v", name, rule.Annotations)
		}
	}
}

// The alerts for the operator are those of rules.yaml.
func TestTheOperatorIsGivenTheSameRules(t *testing.T) {
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(deploy, "prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var plain any
	if err := yaml.Unmarshal(read("rules.yaml"), &plain); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, document := range strings.Split(string(read("operator.yaml")), "\n---\n") {
		var object struct {
			Kind string `json:"kind"`
			Spec any    `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		kinds[object.Kind]++
		if object.Kind == "PrometheusRule" && !reflect.DeepEqual(object.Spec, plain) {
			t.Error("operator.yaml has other alerts than rules.yaml")
		}
	}
	if want := map[string]int{"ClusterRole": 1, "ClusterRoleBinding": 1, "ServiceMonitor": 1, "PrometheusRule": 1}; !maps.Equal(kinds, want) {
		t.Errorf("operator.yaml has %v", kinds)
	}
	var scrape any
	if err := yaml.UnmarshalStrict(read("prometheus.yml"), &scrape); err != nil {
		t.Error(err)
	}
}

func TestTheDashboardIsWhole(t *testing.T) {
	d, err := Dashboard(deploy)
	if err != nil {
		t.Fatal(err)
	}
	if d.UID != "triptych" || len(d.Panels) < 15 || len(d.Templating.List) != 1 || d.Templating.List[0].Name != "datasource" {
		t.Errorf("%+v", d)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d, %q, is there twice or has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("%s shows nothing, or asks %q", p.Title, p.Datasource.UID)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					t.Errorf("%s covers %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestEveryExpressionIsRead(t *testing.T) {
	expressions, err := Expressions(deploy)
	if err != nil || len(expressions) < 25 {
		t.Fatalf("%d expressions: %v", len(expressions), err)
	}
	for _, e := range expressions {
		if selectors, err := Selectors(e); err != nil || len(selectors) == 0 {
			t.Errorf("%s asks for %v: %v", e.Where, selectors, err)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	missing, err := Missing(deploy, "# TYPE apiserver_request_total counter\napiserver_request_total{tier=\"core\"} 1\n", "| `triptych_tier_up` | | x |\n")
	all := strings.Join(missing, "\n")
	if err != nil || !strings.Contains(all, "there is no metric triptych_hop_errors_total") || !strings.Contains(all, "apiserver_request_total has no label code") || strings.Contains(all, "triptych_tier_up") {
		t.Errorf("%v: %s", err, all)
	}
}

// firing evaluates an alert each minute, as Prometheus would, and tells in which of them it
// fires, and for whom.
func firing(t *testing.T, rule rulefmt.Rule, series string, minutes int) (at []int, labels []string) {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n"+series)
	t.Cleanup(func() { storage.Close() })
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	since := map[string]int{}
	for minute := range minutes {
		query, err := engine.NewInstantQuery(t.Context(), storage, nil, rule.Expr, time.Unix(int64(minute)*60, 0))
		if err != nil {
			t.Fatal(err)
		}
		result := query.Exec(t.Context())
		vector, err := result.Vector()
		if err != nil {
			t.Fatal(err)
		}
		active := map[string]bool{}
		for _, sample := range vector {
			active[sample.Metric.String()] = true
		}
		fires := false
		for who := range active {
			if _, known := since[who]; !known {
				since[who] = minute
			}
			if time.Duration(minute-since[who])*time.Minute >= time.Duration(rule.For) {
				fires = true
				labels = append(labels, who)
			}
		}
		for who := range since {
			if !active[who] {
				delete(since, who)
			}
		}
		if fires {
			at = append(at, minute)
		}
		query.Close()
	}
	slices.Sort(labels)
	return at, slices.Compact(labels)
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	rules := alerts(t)
	tested := map[string]bool{}
	for name, tc := range map[string]struct {
		alert, series string
		// first is the minute in which it fires first, -1 for never.
		first int
		who   string
	}{
		"no metrics":           {"TriptychDown", `other 1x60`, 2, ""},
		"metrics":              {"TriptychDown", `triptych_tier_up{tier="core"} 1x60`, -1, ""},
		"a tier is away":       {"TriptychTierDown", "triptych_tier_up{tier=\"core\"} 1x9 0x50\ntriptych_tier_up{tier=\"extensions\"} 1x60", 12, `tier="core"`},
		"away for a minute":    {"TriptychTierDown", `triptych_tier_up{tier="core"} 1x9 0 1x50`, -1, ""},
		"restarts":             {"TriptychTierRestarts", `process_start_time_seconds{tier="core"} 0x9 1x4 2x4 3x40`, 20, `tier="core"`},
		"one restart":          {"TriptychTierRestarts", `process_start_time_seconds{tier="core"} 0x9 1x50`, -1, ""},
		"errors":               {"TriptychRequestsFail", "apiserver_request_total{tier=\"core\",code=\"200\"} 0+90x60\napiserver_request_total{tier=\"core\",code=\"503\"} 0+10x60", 11, `tier="core"`},
		"few errors":           {"TriptychRequestsFail", "apiserver_request_total{tier=\"core\",code=\"200\"} 0+99x60\napiserver_request_total{tier=\"core\",code=\"503\"} 0+1x60", -1, ""},
		"refusals":             {"TriptychRequestsFail", "apiserver_request_total{tier=\"core\",code=\"200\"} 0+50x60\napiserver_request_total{tier=\"core\",code=\"404\"} 0+50x60", -1, ""},
		"nobody asks":          {"TriptychRequestsFail", `apiserver_request_total{tier="core",code="200"} 5x60`, -1, ""},
		"the hop":              {"TriptychHopErrors", `triptych_hop_errors_total{tier="aggregator",delegate="core",reason="away"} 0+60x60`, 11, `delegate="core", reason="away"`},
		"the hop, once":        {"TriptychHopErrors", `triptych_hop_errors_total{tier="aggregator",delegate="core",reason="away"} 0x9 20x50`, -1, ""},
		"slow":                 {"TriptychHopSlow", histogram("triptych_hop_request_duration_seconds", `delegate="core",outcome="answered"`, "20", "30"), 16, `delegate="core"`},
		"fast":                 {"TriptychHopSlow", histogram("triptych_hop_request_duration_seconds", `delegate="core",outcome="answered"`, "0.1", "0.2"), -1, ""},
		"slow, and gone":       {"TriptychHopSlow", histogram("triptych_hop_request_duration_seconds", `delegate="core",outcome="gone"`, "20", "30"), -1, ""},
		"slow etcd":            {"TriptychStorageSlow", histogram("etcd_request_duration_seconds", `tier="core"`, "2", "4"), 11, `tier="core"`},
		"fast etcd":            {"TriptychStorageSlow", histogram("etcd_request_duration_seconds", `tier="core"`, "0.01", "0.02"), -1, ""},
		"expires tomorrow":     {"TriptychClientCertificateExpires", histogram("apiserver_client_certificate_expiration_seconds", `tier="aggregator"`, "43200", "86400"), 6, ""},
		"expires next year":    {"TriptychClientCertificateExpires", histogram("apiserver_client_certificate_expiration_seconds", `tier="aggregator"`, "15552000", "31104000"), -1, ""},
		"a node away":          {"TriptychNodesUnreachable", "triptych_ssh_tunnels{tier=\"core\",state=\"down\"} 0x9 1x50\ntriptych_ssh_tunnels{tier=\"core\",state=\"up\"} 3x60", 20, `tier="core"`},
		"nodes are connecting": {"TriptychNodesUnreachable", `triptych_ssh_tunnels{tier="core",state="connecting"} 3x60`, -1, ""},
		"stale":                {"TriptychTunnelsStale", `triptych_ssh_sync_age_seconds{tier="core"} 0+60x60`, 11, `tier="core"`},
		"in time":              {"TriptychTunnelsStale", `triptych_ssh_sync_age_seconds{tier="core"} 30x60`, -1, ""},
		"not ready":            {"TriptychReplicaNotReady", `triptych_supervisor_replica_ready{instance="a",tier="core",replica="core-0"} 1x9 0x50`, 12, `instance="a", replica="core-0", tier="core"`},
		"stopped on purpose": {"TriptychReplicaNotReady", "triptych_supervisor_replica_ready{instance=\"a\",tier=\"core\",replica=\"core-0\"} 0x60\n" +
			`triptych_supervisor_replica_state{instance="a",tier="core",replica="core-0",state="stopped by operator"} 1x60`, -1, ""},
		"ends soon":    {"TriptychCertificateExpires", `triptych_supervisor_certificate_expiration_timestamp_seconds{instance="a",certificate="x"} 3600x60`, 10, `certificate="x", instance="a"`},
		"ends tonight": {"TriptychCertificateExpires", `triptych_supervisor_certificate_expiration_timestamp_seconds{instance="a",certificate="x"} 28800x60`, -1, ""},
		"fills":        {"TriptychEtcdFills", "triptych_supervisor_etcd_size_bytes{instance=\"a\"} 90x60\ntriptych_supervisor_etcd_quota_bytes{instance=\"a\"} 100x60", 10, `instance="a"`},
		"has room":     {"TriptychEtcdFills", "triptych_supervisor_etcd_size_bytes{instance=\"a\"} 50x60\ntriptych_supervisor_etcd_quota_bytes{instance=\"a\"} 100x60", -1, ""},
		"no snapshot":  {"TriptychSnapshotFailed", `triptych_supervisor_snapshot_failed{instance="a"} 0x4 1x50`, 5, `instance="a"`},
	} {
		tested[tc.alert] = true
		t.Run(name, func(t *testing.T) {
			rule, ok := rules[tc.alert]
			if !ok {
				t.Fatalf("there is no %s", tc.alert)
			}
			at, who := firing(t, rule, tc.series, 40)
			if (tc.first < 0) != (len(at) == 0) || len(at) > 0 && (at[0] != tc.first || who[0] != "{"+tc.who+"}") {
				t.Errorf("%s fires in minutes %v, for %q", tc.alert, at, who)
			}
		})
	}
	for name := range rules {
		if !tested[name] {
			t.Errorf("no test has seen %s fire", name)
		}
	}
}

// histogram is one of which all samples, 60 a minute, are above low and up to high.
func histogram(name, labels, low, high string) string {
	return name + `_bucket{` + labels + `,le="` + low + `"} 0x60` + "\n" + name + `_bucket{` + labels + `,le="` + high + `"} 0+60x60` + "\n" +
		name + `_bucket{` + labels + `,le="+Inf"} 0+60x60` + "\n" + name + `_count{` + labels + `} 0+60x60`
}
