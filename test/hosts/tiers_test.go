package hosts

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// The tiers of one API on three hosts, over IPv6: heads on the first two, core on the last
// two, extensions on the last. The rows of the table in docs/how-to/run-on-several-hosts.md, each by a load
// of reads and writes: what works while a process or a host is dead or cut off, and that
// all works when it is back.
func TestTiersOnThreeHosts(t *testing.T) {
	s, flags := newScene(t, true)
	a, b, c := s.hosts[0], s.hosts[1], s.hosts[2]
	listen := func(h *host, tier string, port int) string {
		return fmt.Sprintf("--tier-listen=%s=[%s]:%d", tier, h.address, port)
	}
	at := func(h *host, tier string, port int) string {
		return fmt.Sprintf("--tier-at=%s=[%s]:%d", tier, h.address, port)
	}
	const aggregator, core, extensions = 7000, 7100, 7200
	common := append(flags, "--bind-address=::", "--service-cluster-ip-range=fd00:96::/112,10.96.0.0/16", "--endpoint-reconciler-type=lease")

	a.begin(t, harness.TempDir(t), append(common, "--tiers=aggregator", a.advertise(), listen(a, "aggregator", aggregator),
		at(b, "core", core), at(c, "core", core), at(c, "extensions", extensions))...)
	a.WaitStatus(t, harness.StartBound, "the head waits for core", func(s harness.Status) bool { return s.Replica("aggregator").Stage == "configured" })
	start := func(h *host, of int, args ...string) {
		dir := s.join(of)
		h.begin(t, dir, append(args, joined(dir), "--bind-address=::", fmt.Sprintf("--secure-port=%d", securePort))...)
	}
	start(b, 1, "--tiers=aggregator,core", b.advertise(), listen(b, "aggregator", aggregator), listen(b, "core", core),
		at(a, "aggregator", aggregator), at(c, "core", core), at(c, "extensions", extensions))
	start(c, 2, "--tiers=core,extensions", listen(c, "core", core), listen(c, "extensions", extensions),
		at(a, "aggregator", aggregator), at(b, "aggregator", aggregator), at(b, "core", core))
	for _, h := range s.hosts {
		h.WaitReady(t)
	}
	a.post(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
	for _, h := range []*host{a, b} {
		h.served(t, gadgets)
	}
	a.post(t, configMaps, `{apiVersion: v1, kind: ConfigMap, metadata: {name: read}}`)
	a.post(t, gadgets, `{apiVersion: hosts.example.com/v1, kind: Gadget, metadata: {name: read}}`)
	s.endpoints(a, a, b)
	s.leases(a, 2)
	s.dualStack(a)

	l := newLoad(t)
	l.start(t, []*host{a, b}, []string{configMaps + "/read", gadgets + "/read", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps"},
		[]string{configMaps, gadgets})
	const customs = group
	kill := func(tier string) func() {
		return func() { syscall.Kill(b.WaitReady(t).Replica(tier).PID, syscall.SIGKILL) }
	}
	for _, row := range []struct {
		dead   string
		do     func()
		undo   func()
		live   []*host
		but    string // what is not served meanwhile
		heads  []*host
		begins bool // somebody starts in undo, who answers when that is done
	}{
		{"one of two processes of core", kill("core"), func() { b.WaitReady(t) }, []*host{a, b}, "", []*host{a, b}, false},
		{"a host with a head", func() { a.Host.Kill(t) }, func() { a.revive(t); a.WaitReady(t) }, []*host{b}, "", []*host{b}, true},
		{"the host with extensions and one of two cores, cut off", func() { c.Cut(t) }, func() { c.Heal(t) }, []*host{a, b}, customs, []*host{a, b}, false},
		{"a host with a head and one of two cores", func() { b.Host.Kill(t) }, func() { b.revive(t); b.WaitReady(t) }, []*host{a}, "", []*host{a}, true},
		{"the host with extensions and one of two cores", func() { c.Host.Kill(t) }, func() { c.revive(t); c.WaitReady(t) }, []*host{a, b}, customs, []*host{a, b}, true},
	} {
		since := time.Now()
		row.do()
		worst := l.well(t, since, row.but, row.live...)
		for _, h := range row.live {
			if row.but != "" {
				away(t, h, gadgets+"/read")
			}
		}
		s.endpoints(row.live[0], row.heads...)
		since = time.Now()
		row.undo()
		if row.begins {
			since = time.Now()
		}
		back := l.well(t, since, "", a, b)
		t.Logf("dead: %s: requests failed for at most %v, and when it is back for %v", row.dead, worst.Round(100*time.Millisecond), back.Round(100*time.Millisecond))
		if max(worst, back) > bound {
			t.Errorf("dead: %s: requests failed for longer than %v", row.dead, bound)
		}
		l.check(t)
	}
	s.endpoints(a, a, b)
	s.kept(l, a, b)
	s.stop()
}

// away expects that what extensions serves is said to be away, and its group to exist.
func away(t *testing.T, h *host, path string) {
	t.Helper()
	if got := h.get(t, path); got.Code != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("%s at %s: %s", path, h.Name, got)
	}
	if got := h.get(t, "/apis"); got.Code != http.StatusOK || !strings.Contains(string(got.Body), group) {
		t.Errorf("the group has left discovery at %s: %s", h.Name, got)
	}
}

// dualStack checks that Services have addresses of both families, IPv6 first.
func (s *scene) dualStack(h *host) {
	s.t.Helper()
	h.post(s.t, "/api/v1/namespaces/default/services",
		`{apiVersion: v1, kind: Service, metadata: {name: dual}, spec: {ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}}`)
	service := struct{ Spec struct{ ClusterIPs []string } }{}
	h.get(s.t, "/api/v1/namespaces/default/services/dual").Into(s.t, &service)
	if ips := service.Spec.ClusterIPs; len(ips) != 2 || !strings.HasPrefix(ips[0], "fd00:96::") || !strings.HasPrefix(ips[1], "10.96.") {
		s.t.Errorf("the Service has the addresses %v", ips)
	}
}
