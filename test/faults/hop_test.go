package faults

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/test/harness"
)

// where tiers listen in the test of hops, the handshake one above.
var hopPorts = map[string]int{"aggregator": 7000, "core": 7020, "extensions": 7060}

// host is the address of one of several hosts on this machine.
func host(n int) string { return fmt.Sprintf("127.78.%d.%d", os.Getpid()%250, n) }

func place(tier string, n int) string { return fmt.Sprintf("%s=%s:%d", tier, host(n), hopPorts[tier]) }

// Whatever becomes of the way between two tiers, nobody is lied to, and all is well soon
// after the way is. The head is on one host, core and extensions are on another, and
// between them is a network that breaks as it is told.
func TestHopsBrokenUnderLoad(t *testing.T) {
	t.Parallel()
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(10 * time.Second) })
	const headHost, innerHost, network = 1, 2, 3
	links := map[string][]*link{}
	for _, tier := range []string{"core", "extensions"} {
		for i := range 2 {
			links[tier] = append(links[tier], newLink(t, fmt.Sprintf("%s:%d", host(network), hopPorts[tier]+i), fmt.Sprintf("%s:%d", host(innerHost), hopPorts[tier]+i)))
		}
	}
	secure := fmt.Sprintf("--secure-port=%d", keptPort(t))
	head := harness.Begin(t, harness.Options{Args: append(etcd.Flags(), secure, "--tiers=aggregator", "--tier-listen="+place("aggregator", headHost),
		"--tier-at="+place("core", network), "--tier-at="+place("extensions", network))})
	head.WaitStatus(t, harness.StartBound, "the head waits", func(s harness.Status) bool { return s.Replica("aggregator").Stage == "configured" })
	dir := joined(t, head)
	inner := harness.Begin(t, harness.Options{Dir: dir, Args: []string{"--config=" + dir + "/joined/supervisor.yaml", secure, "--tiers=core,extensions",
		"--tier-listen=" + place("core", innerHost) + "," + place("extensions", innerHost), "--tier-at=" + place("aggregator", headHost)}})
	inner.WaitReady(t)
	head.WaitReady(t)
	healthy := func() error {
		for _, c := range []*harness.Cluster{head, inner} {
			if s, _, err := c.Status(); err != nil || !harness.IsReady(s) {
				return cmp.Or(err, errors.New(s.String()))
			}
		}
		return nil
	}
	s := stage(t, &head.API, kinds, healthy, func() string { return "" })
	s.Play(t, Fault{Name: "nothing", Budget: time.Second})
	for range often(1, 10) {
		for _, tier := range []string{"core", "extensions"} {
			for _, m := range []mode{cut, reset, oneWay, halfOpen, slow} {
				s.Play(t, Fault{Name: "hop to " + tier + " " + string(m), Budget: 30 * time.Second, Break: func(*testing.T) {
					for _, l := range links[tier] {
						l.set(m)
					}
					last(4 * time.Second)
					for _, l := range links[tier] {
						l.set(through)
					}
				}})
			}
		}
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			s.Play(t, Fault{Name: "etcd of yours away for 10s after " + unix.SignalName(signal), Budget: 30 * time.Second, Break: func(t *testing.T) {
				etcd.Signal(signal)
				<-etcd.Exited()
				last(10 * time.Second)
				if err := etcd.Again(); err != nil {
					t.Fatal(err)
				}
			}})
		}
	}
}

// joined returns the data directory of a host that joined.
func joined(t *testing.T, host *harness.Cluster) string {
	t.Helper()
	token, said, code := host.Supervisor(t.Context(), "join-token", "--listen", "127.0.0.1:0", "--ttl", "5m")
	if code != 0 {
		t.Fatalf("join-token exits with %d: %s", code, said)
	}
	file, dir := harness.TempDir(t)+"/token", harness.TempDir(t)
	harness.WriteFile(t, file, []byte(token), 0o600)
	if out, said, code := harness.Command(t.Context(), harness.Bin("supervisor"), "join", "--data-dir", dir, "--token-file", file); code != 0 {
		t.Fatalf("join exits with %d: %s%s", code, out, said)
	}
	return dir
}
