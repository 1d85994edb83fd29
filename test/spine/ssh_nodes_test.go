package spine

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"triptych.dev/triptych/internal/sshaccess"
	"triptych.dev/triptych/test/harness"
)

// strangersKey is a host key that nobody here has.
func strangersKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	key, _ := harness.Must2(ed25519.GenerateKey(nil))(t)
	return harness.Must(ssh.NewPublicKey(key))(t)
}

func (e *enclave) distrustsStrangers(t *testing.T) {
	harness.WriteFile(t, e.known, []byte(e.KnownHost(e.Node(0))+knownhosts.Line([]string{e.Node(1)}, strangersKey(t))+"\n"), 0o644)
	n := e.node(t, 1)
	t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false") // kubectl would try the other way after this one
	if err := n.answers(t); err == nil || !strings.Contains(err.Error(), "host key") || !strings.Contains(err.Error(), "somebody may be in between") {
		t.Errorf("exec: %v", err)
	}
	e.are503(t, "host key", "/api/v1/namespaces/default/pods/far-1/log", "/api/v1/nodes/far-1/proxy/hello")
	if got := e.cluster.Get(t, "/api/v1/namespaces/default/pods/far-0/log"); got.Code != http.StatusOK {
		t.Errorf("the other node: %s", got)
	}
	// The file is read again, and who is asked for is connected to at once.
	e.know(t, 2)
	harness.Eventually(t, soon, "the node is reached by its right key", func() error { return n.answers(t) })
}

// are503 demands it of all the paths, which wait a while for a tunnel.
func (e *enclave) are503(t *testing.T, says string, paths ...string) {
	t.Helper()
	var all sync.WaitGroup
	for _, path := range paths {
		all.Go(func() {
			got, err := harness.Send(t.Context(), e.cluster.Config(t), http.MethodGet, path, "")
			if err != nil || got.Code != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || !strings.Contains(string(got.Body), says) {
				t.Errorf("%s: %s, %v", path, got, err)
			}
		})
	}
	all.Wait()
}

// tunnels returns how many are in the state.
func (e *enclave) tunnels(t *testing.T, state string) int {
	t.Helper()
	for _, line := range strings.Split(string(e.cluster.Get(t, "/metrics").Body), "\n") {
		if strings.HasPrefix(line, "triptych_ssh_tunnels{") && strings.Contains(line, `state="`+state+`"`) {
			return harness.Must(strconv.Atoi(line[strings.LastIndex(line, " ")+1:]))(t)
		}
	}
	return -1
}

func (e *enclave) awaitTunnels(t *testing.T, up int) {
	t.Helper()
	harness.Eventually(t, soon, fmt.Sprint(up, " tunnels are up"), func() error {
		if n := e.tunnels(t, "up"); n != up {
			return fmt.Errorf("%d are, %d connect, %d are down", n, e.tunnels(t, "connecting"), e.tunnels(t, "down"))
		}
		return nil
	})
}

// followsNodes to fifty and back.
func (e *enclave) followsNodes(t *testing.T) {
	e.know(t, fleetSize)
	var nodes, status strings.Builder
	for i := 2; i < fleetSize; i++ {
		fmt.Fprintf(&nodes, "{apiVersion: v1, kind: Node, metadata: {name: far-%d, labels: {fleet: far}}}\n---\n", i)
		fmt.Fprintf(&status, "{apiVersion: v1, kind: Node, metadata: {name: far-%d}, status: {addresses: [{type: Hostname, address: far-%[1]d.invalid}, {type: InternalIP, address: %s}]}}\n---\n", i, e.Node(i))
	}
	e.cluster.KubectlInput(t, nodes.String(), "create", "-f", "-")
	began := time.Now()
	e.cluster.KubectlInput(t, status.String(), "apply", "--server-side", "--subresource=status", "--force-conflicts", "-f", "-")
	e.awaitTunnels(t, fleetSize)
	t.Logf("%d tunnels are up %v after the first of %d nodes had an address", fleetSize, time.Since(began).Round(time.Millisecond), fleetSize-2)
	e.cluster.Kubectl(t, "delete", "node", "--selector=fleet=far", "--wait=false")
	e.awaitTunnels(t, 2)
}

// survivesSSHD: while no node can be reached, what needs one is 503, and nothing
// else is worse.
func (e *enclave) survivesSSHD(t *testing.T) {
	e.KillSSHD(t)
	e.awaitTunnels(t, 0)
	e.are503(t, "SSH tunnel", "/api/v1/namespaces/default/pods/far-0/log", "/api/v1/namespaces/default/pods/far-0:8080/proxy/",
		"/api/v1/nodes/far-0/proxy/healthz")
	for _, path := range []string{"/readyz", "/livez/ssh-tunnels", "/api/v1/nodes", "/api/v1/pods"} {
		if got := e.cluster.Get(t, path); got.Code != http.StatusOK {
			t.Errorf("%s: %s", path, got)
		}
	}
	e.StartSSHD(t)
	began := time.Now()
	n := node{API: &e.cluster.API, name: "far-0"}
	harness.Eventually(t, soon, "exec works again", func() error { return n.answers(t) })
	t.Logf("exec works %v after sshd was back", time.Since(began).Round(time.Millisecond))
}

// isNotHeldUpByAHungSSHD: whose connections are still open.
func (e *enclave) isNotHeldUpByAHungSSHD(t *testing.T) {
	e.SignalSSHD(t, syscall.SIGSTOP)
	began := time.Now()
	e.are503(t, "SSH tunnel to node far-0", "/api/v1/namespaces/default/pods/far-0/log", "/api/v1/nodes/far-0/proxy/healthz")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a node whose sshd hangs is 503 after %v", took)
	}
	e.awaitTunnels(t, 0)
	e.SignalSSHD(t, syscall.SIGCONT)
	began = time.Now()
	n := node{API: &e.cluster.API, name: "far-0"}
	harness.Eventually(t, soon, "exec works again", func() error { return n.answers(t) })
	t.Logf("exec works %v after sshd went on", time.Since(began).Round(time.Millisecond))
	e.awaitTunnels(t, 2)
}

// survivesCore: its successor has the tunnels again.
func (e *enclave) survivesCore(t *testing.T) {
	kill(t, e.cluster, "core")
	n := node{API: &e.cluster.API, name: "far-0"}
	harness.Eventually(t, soon, "exec works through core's successor", func() error { return n.answers(t) })
	e.awaitTunnels(t, 2)
}

func (e *enclave) isMeasured(t *testing.T) {
	if got := e.cluster.Get(t, "/readyz?verbose"); !strings.Contains(string(got.Body), "[+]ssh-tunnels ok") {
		t.Error(got)
	}
	status := e.cluster.WaitReady(t).Replica("core").Tunnels
	if status == nil || status.Up != 2 || status.Connecting != 0 || status.Down != 0 || status.SyncAgeSeconds <= 0 || status.SyncAgeSeconds > 60 {
		t.Errorf("the status shows %+v", status)
	}
	areDocumented(t, &e.cluster.API, func(name string) bool { return strings.HasPrefix(name, "triptych_ssh_") })
}

// keepsTheKey holds that it is core's alone, and that no shell opens to it.
func (e *enclave) keepsTheKey(t *testing.T) {
	for _, p := range harness.ProcsOf(e.cluster.Dir) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
		if holds, core := strings.Contains(string(line), "ssh.key"), strings.Contains(string(line), "bin/core"); holds != core {
			t.Errorf("%s", strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	route := sshaccess.NewRoute(&sshaccess.Access{User: "root", Port: 22, KeyFile: e.cluster.Path("pki", "ssh.key"), KnownHostsFile: e.known})
	client := harness.Must(route.Connect(t.Context(), e.Node(0)))(t)
	defer client.Close()
	session := harness.Must(client.NewSession())(t)
	if out, err := session.CombinedOutput("echo in"); err == nil || len(out) > 0 {
		t.Errorf("a command runs on the node: %q, %v", out, err)
	}
}
