package spine

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// kill ends one process as a crash would, and waits until the status shows its
// successor and the phase Ready.
func kill(t *testing.T, c *harness.Cluster, name string) (before, after harness.Status) {
	t.Helper()
	before = c.WaitReady(t)
	pid := before.Replica(name).PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	after = c.WaitStatus(t, harness.StartBound, name+" is restarted and all is Ready", func(s harness.Status) bool {
		return s.Phase == "Ready" && s.Replica(name).PID != pid && s.Replica(name).PID != 0
	})
	return before, after
}

// A tier that dies is restarted alone, and the API is whole again.
func TestCrashedTierIsRestartedAlone(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{})
	const group = "crash.example.com"
	installCRD(t, &c.API, group)
	path := createGadget(t, &c.API, group, "one")

	for _, name := range []string{"extensions", "core", "aggregator"} {
		t.Run(name, func(t *testing.T) {
			before, after := kill(t, c, name)
			for tier, pid := range after.PIDs() {
				if tier != name && pid != before.PIDs()[tier] {
					t.Errorf("%s has been restarted too: %d, was %d", tier, pid, before.PIDs()[tier])
				}
			}
			if after.Etcd.PID != before.Etcd.PID {
				t.Error("etcd has been restarted too")
			}
			replica := after.Replica(name)
			if replica.Restarts != before.Replica(name).Restarts+1 || !strings.Contains(string(replica.LastExit), "SIGKILL") {
				t.Errorf("%s: %d restarts, last exit %s", name, replica.Restarts, replica.LastExit)
			}
			for _, path := range []string{path, "/api/v1/namespaces/default", "/apis/apiregistration.k8s.io/v1/apiservices", "/readyz"} {
				if got := c.Get(t, path); got.Code != http.StatusOK {
					t.Errorf("%s answers %s", path, got)
				}
			}
		})
	}
}

// The death of etcd costs nobody else his life and no acknowledged write.
func TestCrashedEtcdIsRestartedAlone(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	c.Kubectl(t, "create", "configmap", "acknowledged")
	before := c.WaitReady(t)
	if err := syscall.Kill(before.Etcd.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	after := c.WaitStatus(t, harness.StartBound, "etcd is restarted and all is Ready", func(s harness.Status) bool {
		return s.Phase == "Ready" && s.Etcd.PID != before.Etcd.PID && s.Etcd.PID != 0
	})
	for tier, pid := range after.PIDs() {
		if pid != before.PIDs()[tier] {
			t.Errorf("%s has been restarted too", tier)
		}
	}
	served(t, &c.API, "/api/v1/namespaces/default/configmaps/acknowledged")
	c.Kubectl(t, "create", "configmap", "afterwards")
}

// What extensions does, core does not feel: not one read fails while it dies
// and comes back, several times.
func TestNoCoreReadFailsWhileExtensionsIsKilled(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	c.Kubectl(t, "create", "configmap", "read", "--from-literal=key=value")
	load := harness.MustLoad(t, c.Config(t), 8, []string{
		"/api/v1/namespaces/default/configmaps/read", "/api/v1/namespaces", "/apis/apps/v1/deployments", "/version",
	}, harness.IsOK)
	for range 3 {
		kill(t, c, "extensions")
	}
	report := load.Stop()
	if len(report.Failures) > 0 || report.OK() < 1000 {
		t.Errorf("%d were fine, %d failed:\n%s", report.OK(), len(report.Failures), firstLines(strings.Join(report.Failures, "\n"), 10))
	}
}

// While a tier is away and back, nothing that exists is ever said not to: a 404
// would make controllers delete what belongs to it.
func TestNothingThatExistsIsEverNotFound(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	const group = "exists.example.com"
	installCRD(t, &c.API, group)
	paths := []string{
		createGadget(t, &c.API, group, "one"), gadgetsPath(group), "/apis/" + group + "/v1", "/apis/" + group,
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets." + group,
		"/api/v1/namespaces/default", "/apis/apps/v1/deployments", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps",
	}
	for _, name := range []string{"extensions", "core", "aggregator"} {
		t.Run(name, func(t *testing.T) {
			load := harness.MustLoad(t, c.Config(t), 4, paths, func(answer harness.Answer, err error) bool {
				if err != nil {
					return name == "aggregator" // the crash of the head is a broken connection
				}
				if answer.Code == http.StatusServiceUnavailable || answer.Code == http.StatusTooManyRequests {
					return answer.Header.Get("Retry-After") != ""
				}
				return answer.Code == http.StatusOK
			})
			kill(t, c, name)
			served(t, &c.API, paths[0])
			report := load.Stop()
			if len(report.Failures) > 0 || report.OK() < 10 {
				t.Errorf("answers: %v, unexpected are %d:\n%s", report.Codes, len(report.Failures), firstLines(strings.Join(report.Failures, "\n"), 10))
			}
			t.Logf("answers: %v", report.Codes)
		})
	}
}

// A supervisor that is killed takes everything with it: no orphan goes on
// writing beside its successor. That waits for the port, which processes that have not noticed yet still hold.
func TestKilledSupervisorLeavesNothingBehind(t *testing.T) {
	dir := harness.TempDir(t)
	port := harness.Must(harness.FreePort())(t)
	options := harness.Options{Dir: dir, Args: []string{"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port)}}
	c := harness.Run(t, options)
	if found := harness.ProcsOf(dir); len(found) != 5 {
		t.Fatalf("want supervisor, etcd and three tiers, got %v", found)
	}
	c.Kubectl(t, "create", "configmap", "acknowledged")
	if err := c.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.GoneWithin(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	var holder net.Listener
	harness.Eventually(t, soon, "the last of its threads has ended", func() (err error) {
		holder, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err
	})
	time.AfterFunc(2*time.Second, func() { holder.Close() })
	again := harness.Run(t, options)
	if got := again.Get(t, "/api/v1/namespaces/default/configmaps/acknowledged"); got.Code != http.StatusOK {
		t.Errorf("an acknowledged write: %s", got)
	}
}

// away is a cluster whose extensions has died and cannot start again.
type away struct {
	*harness.Cluster
	programs *harness.Programs
	group    string
	gadget   string
}

// extensionsAway starts a cluster with a custom resource and breaks extensions.
func extensionsAway(t *testing.T, group string) *away {
	t.Helper()
	a := &away{programs: harness.PrivateBinDir(t), group: group}
	a.Cluster = harness.Run(t, harness.Options{BinDir: a.programs.Dir})
	installCRD(t, &a.API, group)
	a.gadget = createGadget(t, &a.API, group, "one")
	// Auto-registration is what the head must remember.
	served(t, &a.API, "/apis/apiregistration.k8s.io/v1/apiservices/v1."+group)
	a.programs.Break(t, "extensions")
	if err := syscall.Kill(a.WaitReady(t).Replica("extensions").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a.WaitStatus(t, soon, "phase Degraded", isDegraded)
	return a
}

func isDegraded(s harness.Status) bool { return s.Phase == "Degraded" }

// comesBack mends extensions and expects everything as it was.
func (a *away) comesBack(t *testing.T) {
	t.Helper()
	a.programs.Mend(t, "extensions")
	a.WaitReady(t)
	served(t, &a.API, a.gadget)
}

// unavailable expects the answer of a tier that is away: a Status 503 that
// invites to come again, and never a 404.
func unavailable(t *testing.T, path string, got harness.Answer) {
	t.Helper()
	var status struct{ Kind, Reason, Status string }
	got.Into(t, &status)
	if got.Code != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" ||
		status.Kind != "Status" || status.Reason != "ServiceUnavailable" || status.Status != "Failure" {
		t.Errorf("%s answers %s with Retry-After %q", path, got, got.Header.Get("Retry-After"))
	}
}

func TestExtensionsAwayIsUnavailableAndNeverNotFound(t *testing.T) {
	a := extensionsAway(t, "away.example.com")

	for _, path := range []string{
		a.gadget, gadgetsPath(a.group), "/apis/" + a.group + "/v1/gadgets",
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
		// What nobody knows may be a custom resource that only extensions knows.
		"/apis/unknown.example.com/v1/things",
	} {
		unavailable(t, path, a.Get(t, path))
	}
	// A write that was not sent may be repeated by the client.
	got := harness.Must(harness.Send(t.Context(), a.Config(t), http.MethodPost, gadgetsPath(a.group),
		fmt.Sprintf(`{"apiVersion": "%s/v1", "kind": "Gadget", "metadata": {"name": "two"}, "spec": {"size": 1}}`, a.group),
		"Content-Type", "application/json"))(t)
	unavailable(t, "POST "+gadgetsPath(a.group), got)

	t.Run("its answers are counted", func(t *testing.T) {
		requests := countsIn(a.Get(t, "/metrics"), []string{"apiserver_request_total", "triptych_tier_up"})
		for series, want := range map[string]float64{
			`apiserver_request_total{code="503",component="apiserver",dry_run="",group="` + a.group + `",resource="gadgets",scope="resource",subresource="",tier="aggregator",verb="GET",version="v1"}`:  1,
			`apiserver_request_total{code="503",component="apiserver",dry_run="",group="` + a.group + `",resource="gadgets",scope="resource",subresource="",tier="aggregator",verb="POST",version="v1"}`: 1,
			`triptych_tier_up{tier="extensions"}`: 0, `triptych_tier_up{tier="core"}`: 1,
		} {
			if got, found := requests[series]; !found || got < want || got > 0 && want == 0 {
				t.Errorf("%s is %v", series, got)
			}
		}
	})
	t.Run("its groups stay in discovery", func(t *testing.T) {
		for _, accept := range []string{"application/json", aggregatedDiscovery} {
			body := string(a.Get(t, "/apis", "Accept", accept).Body)
			for _, group := range []string{a.group, "apiextensions.k8s.io", "apps"} {
				if !strings.Contains(body, `"`+group+`"`) {
					t.Errorf("%s: %s is gone", accept, group)
				}
			}
			if accept == aggregatedDiscovery && !strings.Contains(body, "Stale") {
				t.Error("nothing is marked as stale")
			}
		}
		if out := a.Kubectl(t, "get", "apiservice", "v1."+a.group, "-o", "name"); out == "" {
			t.Error("the APIService is gone")
		}
	})
	t.Run("the rest works", func(t *testing.T) {
		a.Kubectl(t, "create", "configmap", "meanwhile")
		if out := a.Kubectl(t, "get", "configmaps", "-o", "name"); !strings.Contains(out, "meanwhile") {
			t.Errorf("kubectl get configmaps prints %q", out)
		}
		if _, code, _ := a.Status(); code != exitDegraded {
			t.Errorf("status exits with %d while it is Degraded", code)
		}
	})
	a.comesBack(t)
}

// Core and head start without extensions, from what they remember.
func TestCoreAndHeadStartThoughExtensionsCannot(t *testing.T) {
	t.Parallel() // it waits more than it works
	a := extensionsAway(t, "cold.example.com")
	a.Kubectl(t, "create", "configmap", "before")
	a.Stop(t)

	started := time.Now()
	a.Cluster = harness.Begin(t, harness.Options{Dir: a.Dir, BinDir: a.programs.Dir})
	harness.Eventually(t, harness.StartBound, "core is served", func() error {
		if _, err := os.Stat(a.Kubeconfig); err != nil {
			return err
		}
		got, err := harness.Send(t.Context(), a.Config(t), http.MethodGet, "/api/v1/namespaces/default/configmaps/before", "")
		if err == nil && got.Code != http.StatusOK {
			err = fmt.Errorf("%s", got)
		}
		return err
	})
	t.Logf("core is served after %v without extensions", time.Since(started).Round(time.Millisecond))
	s := a.WaitStatus(t, soon, "core and head are ready", func(s harness.Status) bool {
		return s.Replica("core").Stage == "ready" && s.Replica("aggregator").Stage == "ready"
	})
	if s.Phase == "Ready" {
		t.Errorf("without extensions: %v", s)
	}
	a.Kubectl(t, "create", "configmap", "after")
	unavailable(t, a.gadget, a.Get(t, a.gadget))
	unavailable(t, "crds", a.Get(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"))
	if body := string(a.Get(t, "/apis").Body); !strings.Contains(body, `"apps"`) {
		t.Error("apps is not in discovery")
	}
	if got := a.Get(t, "/readyz"); got.Code != http.StatusOK {
		t.Errorf("/readyz: %s", got)
	}
	a.comesBack(t)
	harness.Eventually(t, soon, "the group is back in discovery", func() error {
		if body := string(a.Get(t, "/apis").Body); !strings.Contains(body, `"`+a.group+`"`) {
			return fmt.Errorf("no %s in %s", a.group, body)
		}
		return nil
	})
}

// A tier that fails again and again is started less and less often.
func TestRestartsBackOff(t *testing.T) {
	t.Parallel() // it waits more than it works
	a := extensionsAway(t, "backoff.example.com")
	s := a.WaitStatus(t, soon, "four restarts", func(s harness.Status) bool { return s.Replica("extensions").Restarts >= 4 })
	if s.Replica("core").Restarts != 0 {
		t.Errorf("core has been restarted too: %v", s)
	}
	printed := a.Output.Lines()
	if !slices.ContainsFunc(printed, func(line string) bool { return strings.Contains(line, "extensions") && strings.Contains(line, "exit") }) {
		t.Errorf("nothing tells why:\n%s", strings.Join(printed, "\n"))
	}
	log := harness.Must(os.ReadFile(a.Path("log", "extensions.log")))(t)
	if !strings.Contains(string(log), "broken by a test") {
		t.Error("what the process said is not in its log")
	}
	a.comesBack(t)
}
