// Package hosts tests clusters of several hosts: three network namespaces on a bridge, an
// etcd member and a supervisor on each, and a load while hosts are killed and links cut. It
// needs root and takes minutes; what takes less is in package spine.
package hosts

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	securePort = 6443
	// bound is how long after a host is lost, or is back, requests at live hosts may fail.
	// Connections to what went away without a word are given up after 15 s by the tiers, and
	// after 40 s by clients of etcd.
	bound = time.Minute
)

const group = "hosts.example.com"

const definition = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.hosts.example.com},
spec: {group: hosts.example.com, scope: Namespaced, names: {plural: gadgets, kind: Gadget},
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`

const (
	configMaps = "/api/v1/namespaces/default/configmaps"
	gadgets    = "/apis/" + group + "/v1/namespaces/default/gadgets"
)

// host is one of the hosts, with its supervisor.
type host struct {
	*harness.Host
	*harness.Cluster
	network *harness.Network
	address string // IP or IP6
	options harness.Options
	etcd    harness.EtcdMember
}

// scene is a cluster of three hosts.
type scene struct {
	t       *testing.T
	network *harness.Network
	hosts   []*host
}

// newScene makes three hosts with an etcd member each. flags are those of the supervisor
// for etcd.
func newScene(t *testing.T, six bool) (s *scene, flags []string) {
	t.Helper()
	s = &scene{t: t, network: harness.StartNetwork(t, 3)}
	members, flags, err := harness.StartEtcdCluster(harness.TempDir(t), s.network.Hosts, six)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range s.network.Hosts {
		one := &host{Host: h, network: s.network, address: h.IP, etcd: members[i]}
		if six {
			one.address = h.IP6
		}
		s.hosts = append(s.hosts, one)
	}
	t.Cleanup(func() {
		for _, h := range s.hosts {
			h.Heal(t)
			if h.Cluster != nil {
				if t.Failed() {
					t.Log(h.Name, h.KeepLogs(t.Name()+"-"+h.Name))
				}
			}
			h.Host.Kill(t)
		}
	})
	return s, append(flags, fmt.Sprintf("--secure-port=%d", securePort))
}

// begin starts the supervisor of a host with a data directory of its own.
func (h *host) begin(t *testing.T, dir string, args ...string) {
	t.Helper()
	h.options = harness.Options{Dir: dir, On: h.Host, Args: args}
	h.again(t)
}

// again starts it as before.
func (h *host) again(t *testing.T) { h.Cluster = harness.Must(harness.Launch(h.options))(t) }

// revive starts what Kill has killed.
func (h *host) revive(t *testing.T) {
	t.Helper()
	harness.Must(h.etcd.Start())(t)
	h.again(t)
}

// join has another host join the first by a token, and returns its data directory.
func (s *scene) join(of int) (dir string) {
	s.t.Helper()
	first, h := s.hosts[0], s.hosts[of]
	token, stderr, code := first.Supervisor(s.t.Context(), "join-token", "--listen", net.JoinHostPort(first.address, "7999"), "--ttl", "5m")
	if code != 0 {
		s.t.Fatalf("join-token: exit code %d, %s", code, stderr)
	}
	dir = harness.TempDir(s.t)
	harness.WriteFile(s.t, dir+".token", []byte(token), 0o600)
	command := append(h.On(), harness.Bin("supervisor"), "join", "--data-dir", dir, "--token-file", dir+".token")
	if stdout, stderr, code := harness.Command(s.t.Context(), command[0], command[1:]...); code != 0 {
		s.t.Fatalf("join: exit code %d, %s%s", code, stdout, stderr)
	}
	return dir
}

// joined is the configuration of a host that has joined.
func joined(dir string) string { return "--config=" + dir + "/joined/supervisor.yaml" }

// advertise is the flag by which the host names its address.
func (h *host) advertise() string { return "--advertise-address=" + h.address }

// config is how a client beside the hosts calls the API at this one.
func (h *host) config(t *testing.T) *rest.Config {
	t.Helper()
	c := h.Config(t)
	c.Host = "https://" + net.JoinHostPort(h.address, fmt.Sprint(securePort))
	c.Dial = h.network.Dial
	return c
}

func (h *host) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	return harness.Must(kubernetes.NewForConfig(h.config(t)))(t)
}

// get sends one GET.
func (h *host) get(t *testing.T, path string) harness.Answer {
	t.Helper()
	return harness.Must(harness.Send(t.Context(), h.config(t), http.MethodGet, path, ""))(t)
}

// post creates an object once that works.
func (h *host) post(t *testing.T, path, object string) {
	t.Helper()
	harness.Eventually(t, bound, path+" is created", func() error {
		got, err := harness.Send(t.Context(), h.config(t), http.MethodPost, path, object, "Content-Type", "application/yaml")
		if err != nil || got.Code != http.StatusCreated && got.Code != http.StatusConflict {
			return fmt.Errorf("%s %v", got, err)
		}
		return nil
	})
}

// served waits until GET of path is 200 at the host.
func (h *host) served(t *testing.T, path string) {
	t.Helper()
	harness.Eventually(t, bound, path+" is served at "+h.Name, func() error {
		got, err := harness.Send(t.Context(), h.config(t), http.MethodGet, path, "")
		if err != nil || got.Code != http.StatusOK {
			return fmt.Errorf("%s %v", got, err)
		}
		return nil
	})
}

// stop ends all supervisors gracefully, and checks that nothing of them is left.
func (s *scene) stop() {
	s.t.Helper()
	for _, h := range s.hosts {
		h.Stop(s.t)
	}
	for _, h := range s.hosts {
		if left := h.PIDs(s.t); len(left) != 1 { // etcd
			s.t.Errorf("%s: processes %v are left", h.Name, left)
		}
	}
}

// objects are the names of the ConfigMaps or gadgets that a host lists.
func (h *host) objects(t *testing.T, path string) map[string]bool {
	t.Helper()
	list := struct {
		Items []struct{ Metadata struct{ Name string } }
	}{}
	got := h.get(t, path)
	if got.Code != http.StatusOK {
		t.Fatalf("%s: %s", h.Name, got)
	}
	got.Into(t, &list)
	names := map[string]bool{}
	for _, item := range list.Items {
		names[item.Metadata.Name] = true
	}
	return names
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 20*time.Second)
}
