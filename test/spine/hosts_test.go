package spine

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// Where tiers listen in tests of several hosts on one machine: each host has an address of
// loopback of its own, so that the ports may be what an administrator would choose.
const (
	aggregatorPort, corePort, extensionsPort = 7000, 7020, 7060
)

// loopbackHost is the address of the n-th host.
func loopbackHost(n int) string { return fmt.Sprintf("127.77.%d.%d", os.Getpid()%250, n) }

func at(tier, host string, port int) string { return fmt.Sprintf("%s=%s:%d", tier, host, port) }

// remoteStage is how a tier at the first place of another host is shown.
func remoteStage(s harness.Status, tier, host string) string {
	for _, t := range s.Tiers {
		for _, r := range t.Replicas {
			if t.Name == tier && r.Remote && strings.Contains(r.Name, "@"+host+":") {
				return r.Stage
			}
		}
	}
	return ""
}

// Head on one host, core on two others, extensions on the last: it is one API. Who starts
// first waits for the others, nobody gets in who would not on one host, and no request
// fails while processes are replaced, added and taken away on hosts that others use.
func TestTiersOnDifferentHosts(t *testing.T) {
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })
	a, b, c := loopbackHost(1), loopbackHost(2), loopbackHost(3)
	port := harness.Must(harness.FreePort())(t)
	cores := []string{"--tier-at=" + at("core", b, corePort), "--tier-at=" + at("core", c, corePort)}
	extensions := "--tier-at=" + at("extensions", c, extensionsPort)
	secure := fmt.Sprintf("--secure-port=%d", port)

	// The head alone starts, says who is away, and answers 503.
	head := harness.Begin(t, harness.Options{Args: append(append(etcd.Flags(), secure, extensions,
		"--tiers=aggregator", "--tier-listen="+at("aggregator", a, aggregatorPort)), cores...)})
	head.WaitStatus(t, harness.StartBound, "the head waits for the others", func(s harness.Status) bool {
		return s.Replica("aggregator").Stage == "configured" && remoteStage(s, "core", b) == "away" && remoteStage(s, "extensions", c) == "away"
	})
	harness.Eventually(t, soon, "503 with Retry-After", func() error {
		got, err := harness.Send(t.Context(), head.Config(t), http.MethodGet, "/api/v1/namespaces/default", "")
		if err != nil || got.Code != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			return fmt.Errorf("%s %v", got, err)
		}
		return nil
	})

	back := "--tier-at=" + at("aggregator", a, aggregatorPort)
	join := func(args ...string) *harness.Cluster {
		dir, _ := join(t, head)
		return harness.Begin(t, harness.Options{Dir: dir, Args: append(args, "--config="+dir+"/joined/supervisor.yaml", back, secure)})
	}
	first := join(extensions, "--tiers=core", "--tier-listen="+at("core", b, corePort))
	second := join("--tiers=core,extensions", "--tier-listen="+at("core", c, corePort)+","+at("extensions", c, extensionsPort))
	for _, host := range []*harness.Cluster{head, first, second} {
		host.WaitReady(t)
	}
	head.WaitStatus(t, soon, "all are shown as ready", func(s harness.Status) bool {
		return remoteStage(s, "core", b) == "ready" && remoteStage(s, "core", c) == "ready" && remoteStage(s, "extensions", c) == "ready"
	})
	const group = "hosts.example.com"
	installCRD(t, &head.API, group)
	head.Kubectl(t, "create", "configmap", "read", "--from-literal=key=value")
	paths := []string{"/api/v1/namespaces/default/configmaps/read", createGadget(t, &head.API, group, "one"), "/apis/" + group + "/v1", "/version"}

	t.Run("strangers", func(t *testing.T) { refuseStrangers(t, second) })
	t.Run("wrong peers", func(t *testing.T) { refuseWrongPeers(t, second) })

	load := harness.MustLoad(t, head.Config(t), 6, paths, harness.IsOK)
	written := openJournal(t, head.Config(t), "written")
	do := func(host *harness.Cluster, args ...string) {
		t.Helper()
		if _, stderr, code := host.Supervisor(t.Context(), args...); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, stderr)
		}
	}
	do(second, "restart", "extensions") // the only one
	do(first, "restart", "core")
	do(first, "scale", "core=2")
	head.WaitStatus(t, soon, "the new replica is known", func(s harness.Status) bool {
		return len(replicas(s, "core")) == 3
	})
	do(first, "scale", "core=1")
	do(second, "restart", "core")
	do(head, "restart", "aggregator")
	first.Stop(t) // gracefully: the other core takes over
	written.close(t)
	report := load.Stop()
	if len(report.Failures) > 0 || report.OK() < 1000 {
		t.Errorf("%d were fine, %d failed:\n%s", report.OK(), len(report.Failures), firstLines(strings.Join(report.Failures, "\n"), 10))
	}
	t.Logf("%d reads", report.OK())

	// Without core: 503, never 404, and it is shown. With it again all is well.
	for _, p := range harness.ProcsOf(second.Dir) {
		syscall.Kill(p.PID, syscall.SIGKILL)
	}
	head.WaitStatus(t, soon, "the hosts are shown as away", func(s harness.Status) bool {
		return remoteStage(s, "core", c) == "away" && remoteStage(s, "extensions", c) == "away"
	})
	for _, path := range paths[:2] {
		got := head.Get(t, path)
		unavailable(t, path, got)
	}
	again := harness.Run(t, harness.Options{Dir: second.Dir, Args: []string{"--config=" + second.Path("joined", "supervisor.yaml"), back, secure,
		"--tiers=core,extensions", "--tier-listen=" + at("core", c, corePort) + "," + at("extensions", c, extensionsPort)}})
	for _, path := range paths {
		served(t, &head.API, path)
	}
	// Who disagrees is told about what.
	again.Stop(t)
	other := harness.Begin(t, harness.Options{Dir: second.Dir, Args: []string{"--config=" + second.Path("joined", "supervisor.yaml"), back, secure, extensions,
		"--tiers=core", "--tier-listen=" + at("core", c, corePort), "--request-timeout=61s"}})
	head.WaitStatus(t, harness.StartBound, "the difference is named", func(s harness.Status) bool {
		for _, tier := range s.Tiers {
			for _, r := range tier.Replicas {
				if strings.Contains(r.Problem, "--request-timeout") {
					return true
				}
			}
		}
		return false
	})
	unavailable(t, paths[0], head.Get(t, paths[0]))
	other.Signal(syscall.SIGTERM)
}

// A layout that cannot work is told in one line, before anything starts.
func TestMistakenHosts(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"give --etcd-servers":                       {"--tiers=aggregator,core", "--tier-at=extensions=127.0.0.1:7000"},
		"by --tier-at extensions=HOST:PORT":         {"--tiers=aggregator,core", "--etcd-servers=http://127.0.0.1:1"},
		"names extensions, which does not run here": {"--tiers=core", "--tier-listen=extensions=127.0.0.1:7000"},
		"unknown tier":                              {"--tiers=corr"},
		"is no IP address of this host":             {"--tier-listen=core=host:7000"},
		"brackets around an IPv6 address":           {"--tier-at=core=::1:7000"},
		"--insecure-port leads to aggregator":       {"--tiers=core", "--insecure-port=8080"},
		"give the port that it has elsewhere":       {"--tiers=core", "--secure-port=0"},
		"this machine has no such address":          {"--tier-listen=core=203.0.113.1:7020", "--etcd-servers=http://127.0.0.1:1"},
		"cannot listen on 127.0.0.1:":               {fmt.Sprintf("--tier-listen=core=127.0.0.1:%d", takenPort(t)), "--etcd-servers=http://127.0.0.1:1"},
	} {
		said, code := refusedStart(t, harness.TempDir(t), args...)
		if !strings.Contains(said, want) || code == 0 {
			t.Errorf("%q: exit code %d, %s", args, code, said)
		}
	}
}
