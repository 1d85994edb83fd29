package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

func newHosts(t *testing.T, at string, lookup func(string) ([]netip.Addr, error)) *Hosts {
	t.Helper()
	where := options.TierAt{}
	if err := where.Set(at); err != nil {
		t.Fatal(err)
	}
	h, err := New(where, func(tier.Name) *tls.Config { return &tls.Config{} })
	if err != nil {
		t.Fatal(err)
	}
	h.local = Local{Ours: func(string) bool { return false }, Changed: func() {}, Say: t.Logf}
	if lookup != nil {
		h.lookup = func(_ context.Context, host string) ([]netip.Addr, error) { return lookup(host) }
	}
	return h
}

func hopsOf(h *Hosts) []string {
	var all []string
	for _, at := range h.Endpoints()[tier.Core] {
		all = append(all, at.Replica)
	}
	slices.Sort(all)
	return all
}

func want(t *testing.T, h *Hosts, names ...string) {
	t.Helper()
	if got := hopsOf(h); !slices.Equal(got, names) {
		t.Errorf("the replicas are %q, want %q", got, names)
	}
}

// What a name resolves to are hosts; a name server that is away takes none along.
func TestANameIsAsManyHostsAsItHasAddresses(t *testing.T) {
	var now []netip.Addr
	failed := errors.New("no such host")
	h := newHosts(t, "core=core.invalid:7020", func(string) ([]netip.Addr, error) { return now, failed })
	resolve := func() {
		t.Helper()
		if _, err := h.resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	resolve()
	want(t, h)
	if len(h.Problems()) != 1 {
		t.Errorf("problems %q", h.Problems())
	}
	now, failed = []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fd00::1")}, nil
	resolve()
	want(t, h, "core@10.0.0.1:7020", "core@[fd00::1]:7020")
	failed = errors.New("timeout")
	resolve()
	want(t, h, "core@10.0.0.1:7020", "core@[fd00::1]:7020")
	now, failed = now[1:], nil
	resolve()
	want(t, h, "core@[fd00::1]:7020")
}

// A host has the replicas that those who are there tell of. One that leaves is gone for all
// who hear of it, one that is lost stays until another knows better.
func TestAHostHasTheReplicasThatItTellsOf(t *testing.T) {
	h := newHosts(t, "core=10.0.0.1:7020", nil)
	one := h.sites[0].hosts[0]
	first := one.places[0]
	sibling := func(ports ...uint32) []*handshakev1.Sibling {
		all := []*handshakev1.Sibling{}
		for _, port := range ports {
			all = append(all, &handshakev1.Sibling{HopPort: port, HandshakePort: port + 1})
		}
		return all
	}
	want(t, h, "core@10.0.0.1:7020")
	h.learn(first, sibling(7020, 7022), false)
	want(t, h, "core@10.0.0.1:7020", "core@10.0.0.1:7022")
	second := one.places[1]
	h.learn(second, sibling(7022), false)
	want(t, h, "core@10.0.0.1:7020", "core@10.0.0.1:7022") // the first has not said that it leaves
	h.learn(second, sibling(7020, 7022), false)
	h.learn(first, sibling(7022), true)
	want(t, h, "core@10.0.0.1:7022") // it has, though the second has not yet
	h.learn(first, nil, false)
	h.learn(second, nil, false)
	want(t, h, "core@10.0.0.1:7022") // nobody knows better
	h.learn(first, sibling(7020), false)
	want(t, h, "core@10.0.0.1:7020")
	h.learn(first, sibling(), true)
	want(t, h)
}
