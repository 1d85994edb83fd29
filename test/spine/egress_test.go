package spine

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// sameThroughEgress demands that both answer alike, for the better or worse. All is
// asked at once, because some answers take as long as a webhook may.
func sameThroughEgress(t *testing.T, ours, stock *egressSide, fine bool) {
	t.Helper()
	answers := map[*egressSide][]string{ours: make([]string, len(egressRequests)), stock: make([]string, len(egressRequests))}
	var asked sync.WaitGroup
	for s, said := range answers {
		for i, r := range egressRequests {
			asked.Go(func() { said[i] = s.answer(t, r) })
		}
	}
	asked.Wait()
	for i, r := range egressRequests {
		want, got := answers[stock][i], answers[ours][i]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (- stock, + ours)\n%s", r.what, diff)
		}
		if works := strings.HasPrefix(want, "2") || strings.HasPrefix(want, "404") || strings.Contains(want, "the webhook says no"); works != fine && r.who != "nobody" {
			t.Errorf("%s: stock answers %s", r.what, want)
		}
		t.Log(r.what, clip(want))
	}
}

// dialed demands that each server was asked for through the proxy of its type, by
// the process whose business it is, and none else.
func (s *egressSide) dialed(t *testing.T) {
	t.Helper()
	got := map[harness.Dial]bool{}
	harness.Eventually(t, soon, "all is asked for through the proxies of "+s.name, func() error {
		for dial := range s.Dials() {
			got[dial] = true
		}
		if diff := cmp.Diff(s.wanted, got); diff != "" {
			return fmt.Errorf("(- wanted, + got)\n%s", diff)
		}
		return nil
	})
}

// Every tier calls what it calls through the proxy of the egress type, as stock
// does, and nothing else.
func TestEveryTierDialsThroughTheEgressSelectorLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	ours, stock := startEgress(t, map[string]harness.Via{"cluster": harness.Mutual, "controlplane": harness.GRPC})
	sameThroughEgress(t, ours, stock, true)
	for _, s := range []*egressSide{ours, stock} {
		t.Run(s.name, s.reachesIntoPods)
		s.dialed(t)
	}
	t.Run("metrics", func(t *testing.T) { egressMetrics(t, ours, stock) })
	proxiesFail(t, ours, stock, "refuse", func(s *egressSide) {
		s.Close()
		s.Refuse(true)
		s.Open(t)
	})
	proxiesFail(t, ours, stock, "are away", func(s *egressSide) { s.Close() })
	t.Run("proxies are back", func(t *testing.T) {
		for _, s := range []*egressSide{ours, stock} {
			s.Refuse(false)
			s.Open(t)
			s.available(t, "True")
		}
		sameThroughEgress(t, ours, stock, true)
	})
}

// An etcd behind a proxy is every tier's, through that proxy alone, and missed while the
// proxy is away; no process dies of that. Direct is no proxy.
func TestEtcdBehindAnEgressProxyLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	ours, stock := startEgress(t, map[string]harness.Via{"cluster": harness.GRPC, "controlplane": harness.Direct, "etcd": harness.Connect})
	sameThroughEgress(t, ours, stock, true)
	for _, s := range []*egressSide{ours, stock} {
		t.Run(s.name, s.reachesIntoPods)
		s.dialed(t)
	}
	before := ours.cluster.WaitReady(t).PIDs()
	for _, s := range []*egressSide{ours, stock} {
		s.Close()
	}
	for _, s := range []*egressSide{ours, stock} {
		harness.Eventually(t, soon, s.name+" misses etcd", func() error {
			if said := s.answer(t, egressRequest{method: "GET", path: "/readyz/etcd"}); !strings.HasPrefix(said, "500 [] [] internal server error: error getting data from etcd") {
				return errors.New(said)
			}
			return nil
		})
		served(t, s.API, "/livez?exclude=etcd")
		for _, path := range []string{"/api/v1/namespaces/hooked/serviceaccounts/default", convertedPath("byurl", "v1") + "/one", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps"} {
			said := s.answer(t, egressRequest{method: "GET", path: path + "?timeout=1s"})
			if strings.HasPrefix(said, "2") || strings.HasPrefix(said, "4") {
				t.Errorf("%s without etcd: %s", s.name, said)
			}
			t.Log(s.name, path, clip(said))
		}
	}
	for _, s := range []*egressSide{ours, stock} {
		s.Open(t)
		served(t, s.API, "/readyz")
		s.available(t, "True")
	}
	sameThroughEgress(t, ours, stock, true)
	if diff := cmp.Diff(before, ours.cluster.WaitReady(t).PIDs()); diff != "" {
		t.Errorf("a process did not live through it (- before, + after)\n%s", diff)
	}
}

// proxiesFail has them fail, and compares what comes of it. Nobody else is harmed.
func proxiesFail(t *testing.T, ours, stock *egressSide, how string, fail func(*egressSide)) {
	t.Run("proxies "+how, func(t *testing.T) {
		said := map[string]string{}
		for _, s := range []*egressSide{ours, stock} {
			fail(s)
			said[s.name] = s.available(t, "False")
		}
		if diff := cmp.Diff(said["stock"], said["ours"]); diff != "" {
			t.Errorf("the aggregated server (- stock, + ours)\n%s", diff)
		}
		sameThroughEgress(t, ours, stock, false)
		for _, s := range []*egressSide{ours, stock} {
			served(t, s.API, "/readyz")
		}
	})
}

// available has the API look at the aggregated server now, and returns why its
// condition is what is wanted.
func (s *egressSide) available(t *testing.T, want string) string {
	t.Helper()
	s.Kubectl(t, "annotate", "service", "-n", "hooked", "hook5", "--overwrite", "egress="+strings.ReplaceAll(t.Name(), "/", "."))
	s.Kubectl(t, "wait", "--for=condition=Available="+want, "--timeout=60s", "apiservice", "v1.behind.example.com")
	return s.normal(s.Kubectl(t, "get", "apiservice", "v1.behind.example.com", "-o", "jsonpath={.status.conditions[0].message}"))
}

// reachesIntoPods uses every protocol.
func (s *egressSide) reachesIntoPods(t *testing.T) {
	t.Run("exec", s.node.execs)
	t.Run("exec by protocol", s.node.resizes)
	t.Run("logs", s.node.logs)
	t.Run("port-forward", s.node.forwardsPorts)
}

// dialMetrics count what goes well.
var dialMetrics = regexp.MustCompile(`^(apiserver_egress_dialer_dial_(start_total|duration_seconds_(count|sum))|konnectivity_network_proxy_client_stream_packets_total{packet_type="DATA")`)

// egressMetrics are stock's, in each tier.
func egressMetrics(t *testing.T, ours, stock *egressSide) {
	dialed := func(s *egressSide, path string) (series []string) {
		for line := range strings.Lines(string(s.Get(t, path).Body)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if dialMetrics.MatchString(name) {
				series = append(series, name)
				if value == "0" {
					t.Errorf("%s is 0", name)
				}
			}
		}
		slices.Sort(series)
		return series
	}
	want := dialed(stock, "/metrics")
	for _, tier := range strings.Fields(allTiers) {
		var got []string
		for _, series := range dialed(ours, "/metrics") {
			if label := tierLabel.FindString(series); strings.Contains(label, tier) {
				got = append(got, strings.Replace(series, label, "", 1))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
			t.Errorf("%s (- stock, + ours)\n%s", tier, diff)
		}
	}
}
