package deploy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/test/harness"
)

func TestExamplesForAVirtualAddressAreValid(t *testing.T) {
	haproxy, keepalived := installed(t, "haproxy", "haproxy"), installed(t, "keepalived", "keepalived")
	dir := harness.TempDir(t)
	ca := harness.Must(harness.NewCA("ca"))(t)
	harness.WriteFile(t, filepath.Join(dir, "ca.crt"), ca.CertPEM(), 0o644)
	config := filepath.Join(dir, "haproxy.cfg")
	harness.WriteFile(t, config, []byte(strings.ReplaceAll(read(t, deployed("haproxy", "haproxy.cfg")), "/etc/haproxy", dir)), 0o644)
	if out, err := command(t, haproxy, "-c", "-f", config); err != nil || strings.Contains(out, "WARNING") {
		t.Errorf("haproxy: %v, %s", err, out)
	}
	// keepalived wants nobody but root to be able to write the script: it looks at all of its path.
	etc := harness.Must(os.MkdirTemp("/etc", "triptych-test"))(t)
	t.Cleanup(func() { os.RemoveAll(etc) })
	harness.WriteFile(t, filepath.Join(etc, "check-api"), []byte(read(t, deployed("keepalived", "check-api"))), 0o755)
	if err := os.Chmod(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(dir, "keepalived.conf")
	// Asked to test a configuration, keepalived 2.2 ends itself by a signal once it has been another user.
	root := strings.NewReplacer("/etc/keepalived", etc, "script_user nobody nogroup", "script_user root")
	harness.WriteFile(t, config, []byte(root.Replace(read(t, deployed("keepalived", "keepalived.conf")))), 0o644)
	// It also looks for the interface.
	if out, err := command(t, "unshare", "--net", "sh", "-c", "ip link add eth0 type veth peer name eth1 && exec "+keepalived+" --config-test -f "+config); err != nil || out != "" {
		t.Errorf("keepalived: %v, %s", err, out)
	}
}

// Two hosts behind HAProxy as the example has it, but for addresses: client certificates
// reach the head, a host that is stopped is left without a lost request, and one that is
// killed is missed by nobody who asks next.
func TestHostsBehindHAProxy(t *testing.T) {
	t.Parallel() // it waits more than it works
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })
	first := harness.Run(t, harness.Options{Args: append(etcd.Flags(), "--shutdown-delay-duration=10s")})
	// A copy, so that no process of another host has the first one's folder among its arguments.
	shared := filepath.Join(harness.TempDir(t), "pki")
	if err := os.CopyFS(shared, os.DirFS(first.Path("pki"))); err != nil {
		t.Fatal(err)
	}
	port := harness.Must(harness.FreePort())(t)
	run := func() *harness.Cluster {
		return harness.Run(t, harness.Options{Args: append(etcd.Flags(), "--shutdown-delay-duration=10s", "--pki-from="+shared, fmt.Sprintf("--secure-port=%d", port))})
	}
	second := run()
	front, haproxy := frontOf(t, first, second)
	// /readyz by way of HAProxy is what keepalived goes by.
	check := func() error {
		out, err := command(t, "env", "CA="+first.Path("pki", "ca.crt"), "URL="+front.Config(t).Host+"/readyz", deployed("keepalived", "check-api"))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	harness.Eventually(t, soon, "the API is reached by way of HAProxy", check)
	if got := front.Kubectl(t, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"); got != "kubernetes-admin" {
		t.Errorf("behind HAProxy the administrator is %q", got)
	}
	load := harness.MustLoad(t, front.Config(t), 4, []string{"/api/v1/namespaces/default", "/version"}, isOKOrAsksForMore)
	before := load.Answered()
	harness.Eventually(t, soon, "there is load", func() error { return more(load, before+100) })
	second.Stop(t)
	before = load.Answered()
	harness.Eventually(t, soon, "it goes on", func() error { return more(load, before+100) })
	report := load.Stop()
	if len(report.Failures) > 0 {
		t.Errorf("%d were fine, %d failed while one host stopped:\n%s", report.OK(), len(report.Failures), strings.Join(report.Failures, "\n"))
	}
	if again := report.Codes[http.StatusServiceUnavailable]; again > 4 {
		t.Errorf("4 connections were told %d times to come again", again)
	}
	t.Logf("%d requests", report.OK())

	second = run() // where it was
	harness.Eventually(t, soon, "HAProxy has seen that it is back", func() error { return haproxy.Output.Contains("Server heads/host-2 is UP") })
	kill(t, first)
	front.Kubectl(t, "create", "configmap", "written-after-the-kill")
	front.Kubectl(t, "get", "configmap", "written-after-the-kill")
	harness.Eventually(t, soon, "keepalived's check succeeds again", check)
	kill(t, second)
	if check() == nil {
		t.Error("keepalived's check succeeds though no host is there")
	}
}

// kill ends all processes of a host at once.
func kill(t *testing.T, host *harness.Cluster) {
	t.Helper()
	for _, p := range harness.ProcsOf(host.Dir) {
		syscall.Kill(p.PID, syscall.SIGKILL)
	}
	if err := host.GoneWithin(soon); err != nil {
		t.Fatal(err)
	}
}

// isOKOrAsksForMore: a connection that outlives the delay of the stop is told once to come again, as kube-apiserver
// would tell it.
func isOKOrAsksForMore(answer harness.Answer, err error) bool {
	return harness.IsOK(answer, err) || err == nil && answer.Code == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != ""
}

func more(load *harness.Load, than int) error {
	if n := load.Answered(); n < than {
		return fmt.Errorf("%d answers", n)
	}
	return nil
}

// frontOf runs the example of HAProxy on loopback, with the named hosts in place of its own.
func frontOf(t *testing.T, hosts ...*harness.Cluster) (*harness.API, *harness.Process) {
	t.Helper()
	dir, port := harness.TempDir(t), harness.Must(harness.FreePort())(t)
	harness.WriteFile(t, filepath.Join(dir, "ca.crt"), []byte(read(t, hosts[0].Path("pki", "ca.crt"))), 0o644)
	config := read(t, deployed("haproxy", "haproxy.cfg"))
	i := strings.Index(config, "    server host-1")
	config = strings.NewReplacer("/etc/haproxy", dir, "bind :8443", fmt.Sprintf("bind 127.0.0.1:%d", port), "log /dev/log local0 notice", "log stdout format raw local0", "maxconn 8000", "maxconn 100").Replace(config[:i])
	for n, host := range hosts {
		config += fmt.Sprintf("    server host-%d %s\n", n+1, strings.TrimPrefix(host.URL(t), "https://"))
	}
	harness.WriteFile(t, filepath.Join(dir, "haproxy.cfg"), []byte(config), 0o644)
	p := harness.Must(harness.StartProcess(syscall.SIGKILL, nil, installed(t, "haproxy", "haproxy"), "-db", "-f", filepath.Join(dir, "haproxy.cfg")))(t)
	t.Cleanup(func() {
		p.End(soon)
		if t.Failed() {
			t.Logf("haproxy printed:\n%s", p.Output)
		}
	})
	kubeconfig := filepath.Join(dir, "kubeconfig")
	content := regexp.MustCompile(`server: \S+`).ReplaceAllString(read(t, hosts[0].Kubeconfig), fmt.Sprintf("server: https://127.0.0.1:%d", port))
	harness.WriteFile(t, kubeconfig, []byte(content), 0o600)
	front := &harness.API{Kubeconfig: kubeconfig}
	harness.Eventually(t, soon, "a head is ready behind HAProxy", func() error {
		answer, err := harness.Send(t.Context(), front.Config(t), http.MethodGet, "/readyz", "")
		if err == nil && answer.Code != http.StatusOK {
			err = fmt.Errorf("%s", answer)
		}
		return err
	})
	return front, p
}
