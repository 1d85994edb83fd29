package hosts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// All tiers on each of three hosts, on an etcd cluster with a member on each: a host that
// dies, one that is cut off and one that comes back cost the clients of the others no
// more than the bound, and nothing that was acknowledged.
func TestThreeHosts(t *testing.T) {
	s, flags := newScene(t, false)
	first := s.hosts[0]
	first.begin(t, harness.TempDir(t), append(flags, first.advertise())...)
	first.WaitReady(t)
	for i, h := range s.hosts[1:] {
		dir := s.join(i + 1)
		h.begin(t, dir, joined(dir), fmt.Sprintf("--secure-port=%d", securePort), h.advertise())
	}
	for _, h := range s.hosts {
		h.WaitReady(t)
	}
	first.post(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
	for _, h := range s.hosts {
		h.served(t, gadgets)
	}
	first.post(t, configMaps, `{apiVersion: v1, kind: ConfigMap, metadata: {name: read}}`)
	first.post(t, gadgets, `{apiVersion: hosts.example.com/v1, kind: Gadget, metadata: {name: read}}`)
	s.endpoints(first, s.hosts...)
	s.leases(first, 3)

	l := newLoad(t)
	l.start(t, s.hosts, []string{configMaps + "/read", gadgets + "/read"}, []string{configMaps, gadgets})
	for _, h := range s.hosts {
		l.inside(t, h, configMaps+"/read")
	}
	second, third := s.hosts[1], s.hosts[2]
	steps := []struct {
		what string
		do   func()
		live []*host
	}{
		{"the third host is killed", func() { third.Host.Kill(t) }, s.hosts[:2]},
		{"it is back", func() { third.revive(t); third.WaitReady(t) }, s.hosts},
		{"the second host is cut off", func() { second.Cut(t) }, []*host{first, third}},
		{"its link is healed", func() { second.Heal(t) }, s.hosts},
	}
	for _, step := range steps {
		since := time.Now()
		step.do()
		back := time.Now()
		if len(step.live) == 3 {
			since = back // a host that starts answers nobody before
		}
		worst := l.well(t, since, "", step.live...)
		t.Logf("%s: requests at live hosts failed for at most %v", step.what, worst.Round(100*time.Millisecond))
		if worst > bound {
			t.Errorf("%s: requests failed for %v", step.what, worst)
		}
		l.check(t)
		s.endpoints(first, step.live...)
	}
	for _, h := range s.hosts {
		h.WaitReady(t)
	}
	s.kept(l, s.hosts...)
	s.stop()
}

// endpoints waits until the kubernetes Service has the addresses of these hosts.
func (s *scene) endpoints(of *host, hosts ...*host) {
	s.t.Helper()
	var want []string
	for _, h := range hosts {
		want = append(want, h.address)
	}
	slices.Sort(want)
	client := of.client(s.t)
	harness.Eventually(s.t, bound, "the endpoints are "+strings.Join(want, ", "), func() error {
		ctx, cancel := withTimeout(s.t.Context())
		defer cancel()
		slice, err := client.DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var got []string
		for _, e := range slice.Endpoints {
			got = append(got, e.Addresses...)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("they are %v", got)
		}
		return nil
	})
}

// leases checks that so many API servers call themselves by names of their own.
func (s *scene) leases(of *host, n int) {
	s.t.Helper()
	harness.Eventually(s.t, bound, "each core has its lease", func() error {
		ctx, cancel := withTimeout(s.t.Context())
		defer cancel()
		list, err := of.client(s.t).CoordinationV1().Leases("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "apiserver.kubernetes.io/identity=kube-apiserver"})
		if err != nil {
			return err
		}
		holders := map[string]bool{}
		for _, lease := range list.Items {
			holders[*lease.Spec.HolderIdentity] = true
		}
		if len(holders) != n {
			return fmt.Errorf("%d leases, want %d", len(holders), n)
		}
		return nil
	})
}
