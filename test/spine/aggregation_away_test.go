package spine

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// condition is what an APIService says of its server.
func (s *side) condition(t *testing.T, version string) string {
	t.Helper()
	return plain(s.Kubectl(t, "get", "apiservice", version+".wardle.example.com", "-o",
		`jsonpath={range .status.conditions[*]}{.type} {.status} {.reason} {.message}{end}`))
}

// namespace is what there is of a namespace, and why.
func (s *side) namespace(t *testing.T, name string) string {
	t.Helper()
	out, err := s.TryKubectl(t, "", "get", "namespace", name, "-o",
		`jsonpath={.status.phase}{range .status.conditions[*]}{"\n"}{.type} {.status} {.reason} {.message}{end}`)
	if err != nil {
		return plain(err.Error()[strings.Index(err.Error(), "\n"):])
	}
	return plain(out)
}

// deletes has a namespace with a flunder deleted and returns what to compare.
func (s *side) deletes(t *testing.T, namespace string) {
	t.Helper()
	s.Kubectl(t, "delete", "namespace", namespace, "--wait=false")
}

// gone waits until the namespace is no more, on both sides.
func (a *aggregation) gone(t *testing.T, namespace string) {
	t.Helper()
	for _, s := range a.both() {
		harness.Eventually(t, settled, s.name+": the namespace is gone", func() error {
			if got := s.namespace(t, namespace); !strings.Contains(got, "NotFound") {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
}

// away compares what clients and controllers meet while the aggregated server is
// dead, and that everything else goes on.
func (a *aggregation) away(t *testing.T) {
	for _, s := range a.both() {
		harness.RunControllers(t, s.API, s.dir)
		for _, namespace := range []string{"before", "meanwhile"} {
			s.Kubectl(t, "create", "namespace", namespace)
			s.apply(t, flunder(namespace, "lasting"))
		}
	}
	t.Run("a namespace is deleted before", func(t *testing.T) {
		for _, s := range a.both() {
			s.deletes(t, "before")
		}
		a.gone(t, "before")
		a.equal(t, "its flunders", func(t *testing.T, s *side) any {
			return s.Kubectl(t, "get", "flunders", "-A", "--no-headers", "-o", "custom-columns=N:.metadata.namespace,M:.metadata.name")
		})
	})
	for _, s := range a.both() {
		s.sample.Kill(t)
	}
	killed, noticed := time.Now(), map[*side]time.Duration{}
	t.Run("noticed", func(t *testing.T) {
		harness.Eventually(t, settled, "both tell that the server is away", func() error {
			for _, s := range a.both() {
				if _, known := noticed[s]; !known && strings.Contains(s.condition(t, "v1alpha1"), "Available False") {
					noticed[s] = time.Since(killed)
				}
			}
			if len(noticed) < 2 {
				return fmt.Errorf("stock says %s, ours %s", a.stock.condition(t, "v1alpha1"), a.ours.condition(t, "v1alpha1"))
			}
			return nil
		})
		t.Logf("stock noticed after %v, ours after %v", noticed[a.stock], noticed[a.ours])
		for _, version := range []string{"v1alpha1", "v1beta1"} {
			a.equal(t, version, func(t *testing.T, s *side) any { return s.condition(t, version) })
		}
	})
	t.Run("answers", func(t *testing.T) {
		for _, path := range []string{flunders, flunders + "/lasting", wardle + "/v1alpha1", wardle, "/apis/wardle.example.com/v1alpha1/flunders?watch=1"} {
			a.equal(t, path, func(t *testing.T, s *side) any { return s.told(t, path) })
		}
		if got := a.ours.Get(t, flunders+"/lasting"); got.Code != http.StatusServiceUnavailable {
			t.Errorf("got %s", got)
		}
		a.same(t, "a write", func(t *testing.T, s *side) any {
			return told(harness.Send(t.Context(), s.Config(t), http.MethodDelete, flunders+"/lasting", ""))
		})
	})
	t.Run("discovery", func(t *testing.T) {
		a.equal(t, "/apis", func(t *testing.T, s *side) any { return s.document(t, "/apis") })
		a.equal(t, "aggregated /apis", func(t *testing.T, s *side) any { return s.groupDiscovery(t, "wardle.example.com") })
		a.equal(t, "kubectl api-resources", func(t *testing.T, s *side) any {
			out, err := s.TryKubectl(t, "", "api-resources", "--api-group=wardle.example.com")
			return plain(fmt.Sprint(out, err))
		})
		a.equal(t, "kubectl get flunders", func(t *testing.T, s *side) any {
			out, err := s.TryKubectl(t, "", "get", "flunders")
			return plain(fmt.Sprint(out, err))
		})
	})
	t.Run("the rest", func(t *testing.T) {
		for _, what := range []string{"namespaces", "priorityclasses", "apiservices", "crds"} {
			if out := a.ours.Kubectl(t, "get", what); out == "" && what != "crds" {
				t.Errorf("no %s", what)
			}
		}
		a.same(t, "readiness", func(t *testing.T, s *side) any { return s.told(t, "/readyz") })
	})
	t.Run("a namespace is deleted meanwhile", func(t *testing.T) {
		for _, s := range a.both() {
			s.deletes(t, "meanwhile")
		}
		a.equal(t, "the namespace", func(t *testing.T, s *side) any {
			got := s.namespace(t, "meanwhile")
			if !strings.Contains(got, "NamespaceDeletionDiscoveryFailure True") {
				return s.name + " has not looked yet: " + got
			}
			return got
		})
	})
	t.Run("back", func(t *testing.T) {
		for _, s := range a.both() {
			s.sample.Start(t)
		}
		for _, s := range a.both() {
			served(t, s.API, flunders+"/lasting")
		}
		for _, version := range []string{"v1alpha1", "v1beta1"} {
			a.equal(t, version, func(t *testing.T, s *side) any { return s.condition(t, version) })
		}
		a.equal(t, "aggregated /apis", func(t *testing.T, s *side) any { return s.groupDiscovery(t, "wardle.example.com") })
		a.gone(t, "meanwhile")
	})
}

// headKilled kills the head under clients of the aggregated server: it is away for
// a moment and then serves the same.
func (a *aggregation) headKilled(t *testing.T) {
	fine := func(answer harness.Answer, err error) bool {
		return err != nil || answer.Code == http.StatusOK || (answer.Code == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != "") ||
			answer.Code == http.StatusServiceUnavailable && strings.Contains(string(answer.Body), "service unavailable")
	}
	load := harness.MustLoad(t, a.ours.Config(t), 2, []string{flunders + "/lasting", wardle + "/v1beta1", wardle}, fine)
	before, err := a.cluster.AwaitStatus(soon, "phase Ready", harness.IsReady)
	if err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, soon, "the load runs", func() error {
		if load.Answered() < 10 {
			return fmt.Errorf("%d answers", load.Answered())
		}
		return nil
	})
	old := before.Replica("aggregator").PID
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a.cluster.WaitStatus(t, harness.StartBound, "another head is ready", func(s harness.Status) bool {
		return harness.IsReady(s) && s.Replica("aggregator").PID != old
	})
	served(t, a.ours.API, flunders+"/lasting")
	answered := load.Answered()
	harness.Eventually(t, soon, "the load goes on", func() error {
		if load.Answered() < answered+10 {
			return fmt.Errorf("%d answers", load.Answered())
		}
		return nil
	})
	report := load.Stop()
	if len(report.Failures) > 0 {
		t.Errorf("%d unexpected answers, the first: %s", len(report.Failures), report.Failures[0])
	}
	t.Logf("answers by code while the head is killed: %v", report.Codes)
	a.discovery(t)
}
