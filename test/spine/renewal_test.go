package spine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// everyday is load of all kinds on a cluster, of which nothing may fail.
type everyday struct {
	loads   map[string]*harness.Load
	journal *journal
}

func startEveryday(t *testing.T, c *harness.Cluster, group string) everyday {
	t.Helper()
	installCRD(t, &c.API, group)
	c.Kubectl(t, "create", "configmap", "read", "--from-literal=key=value")
	c.Kubectl(t, "create", "serviceaccount", "reader")
	c.Kubectl(t, "create", "clusterrolebinding", "reader", "--clusterrole=cluster-admin", "--serviceaccount=default:reader")
	byToken := c.Anonymous(t)
	stdout, stderr, code := c.Supervisor(t.Context(), "token", "create", "--service-account=default/reader", "--duration=20m")
	if code != 0 {
		t.Fatalf("token create: exit code %d: %s", code, stderr)
	}
	byToken.BearerToken = strings.TrimSpace(stdout)
	paths := []string{
		"/api/v1/namespaces/default/configmaps/read", createGadget(t, &c.API, group, "one"),
		"/apis/apiregistration.k8s.io/v1/apiservices/v1.apps", "/apis/" + group + "/v1", "/version",
	}
	return everyday{
		loads: map[string]*harness.Load{
			"by certificate": harness.MustLoad(t, c.Config(t), 2, paths, harness.IsOK),
			"by token":       harness.MustLoad(t, byToken, 2, paths, harness.IsOK),
		},
		journal: openJournal(t, c.Config(t), "written"),
	}
}

// check ends the load and demands that nothing of it failed.
func (e everyday) check(t *testing.T) {
	t.Helper()
	e.journal.close(t)
	for name, l := range e.loads {
		report := l.Stop()
		if len(report.Failures) > 0 || report.OK() < 100 {
			t.Errorf("%s: %d were fine, %d failed:\n%s", name, report.OK(), len(report.Failures), firstLines(strings.Join(report.Failures, "\n"), 10))
		}
		t.Logf("%s: %d reads", name, report.OK())
	}
}

// do runs a command of the supervisor's, which must succeed.
func do(t *testing.T, c *harness.Cluster, args ...string) string {
	t.Helper()
	stdout, stderr, code := c.Supervisor(t.Context(), args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// shortLived are the leaves that are replaced while processes run.
func shortLived(t *testing.T, c *harness.Cluster) map[string]*harness.Pair {
	t.Helper()
	leaves := map[string]*harness.Pair{}
	for _, pattern := range []string{"internal/*.crt", "etcd/*.crt"} {
		files := harness.Must(filepath.Glob(c.Path("pki", pattern)))(t)
		for _, file := range files {
			base := strings.TrimSuffix(file, ".crt")
			if filepath.Base(base) == "ca" || filepath.Base(base) == "next-ca" {
				continue
			}
			if pair, err := harness.LoadPair(file, base+".key"); err == nil { // else it is being replaced
				leaves[strings.TrimPrefix(base, c.Path("pki")+"/")] = pair
			}
		}
	}
	return leaves
}

// awaitOthers waits until every short-lived leaf is another one than in before.
func awaitOthers(t *testing.T, c *harness.Cluster, before map[string]*harness.Pair) map[string]*harness.Pair {
	t.Helper()
	var now map[string]*harness.Pair
	harness.Eventually(t, 2*soon, "all certificates are replaced", func() error {
		now = shortLived(t, c)
		for name, old := range before {
			if now[name] == nil || now[name].Cert.Equal(old.Cert) {
				return errors.New(name)
			}
		}
		return nil
	})
	return now
}

// burglar is a connection to an inner listener by a certificate that was stolen.
type burglar struct {
	where string
	ended chan struct{}
}

// breakIn connects to every inner listener with what was stolen, and is let in.
func breakIn(t *testing.T, in *inside, stolen map[string]*harness.Pair) []burglar {
	t.Helper()
	var all []burglar
	for where, at := range doors(in) {
		conn, err := enter(at, in, stolen)
		if err != nil {
			t.Fatalf("%s: is not let in before: %v", where, err)
		}
		t.Cleanup(func() { conn.Close() })
		i := burglar{where, make(chan struct{})}
		go func() { _, _ = io.Copy(io.Discard, conn); close(i.ended) }()
		all = append(all, i)
	}
	return all
}

type doorway struct {
	to      tier.Name
	address string
	as      string // a leaf below pki
	says    string // what a caller says first; empty where the server does
}

func doors(in *inside) map[string]doorway {
	const request = "GET /version HTTP/1.1\r\nHost: inside\r\n\r\n"
	return map[string]doorway{
		"hop of extensions":       {tier.Extensions, in.tiers[tier.Extensions].Hop, "internal/core-delegation", request},
		"hop of core":             {tier.Core, in.tiers[tier.Core].Hop, "internal/aggregator-delegation", request},
		"hop of aggregator":       {tier.Aggregator, in.tiers[tier.Aggregator].Hop, "internal/core-self", request},
		"handshake of extensions": {tier.Extensions, in.tiers[tier.Extensions].Handshake, "internal/supervisor-self", ""},
		"handshake of core":       {tier.Core, in.tiers[tier.Core].Handshake, "internal/aggregator-self", ""},
		"handshake of aggregator": {tier.Aggregator, in.tiers[tier.Aggregator].Handshake, "internal/supervisor-self", ""},
	}
}

// enter returns a connection on which the server has answered.
func enter(at doorway, in *inside, stolen map[string]*harness.Pair) (net.Conn, error) {
	config := in.config(at.to, stolen[at.as])
	config.NextProtos = []string{"http/1.1"}
	if at.says == "" {
		config.NextProtos = []string{"h2"}
	}
	config.InsecureSkipVerify = true // the thief does not care
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: soon}, "tcp", at.address, config)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(soon))
	if _, err = io.WriteString(conn, at.says); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 5))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Certificates are replaced many times under load, and then the CA that signed them: no request fails, no write is
// lost, no watch has a gap, and no process is another one.
func TestCertificatesAreReplacedUnderLoad(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{Args: []string{"--internal-cert-validity=30s"}})
	before, pids := shortLived(t, c), c.WaitReady(t).PIDs()
	if len(before) < 14 {
		t.Fatalf("there are but %d: %v", len(before), before)
	}
	load := startEveryday(t, c, "renewal.example.com")
	second := awaitOthers(t, c, before)
	third := awaitOthers(t, c, second)
	do(t, c, "certs", "renew", "internal/core-self", "apiserver")
	in := insideOf(t, c)
	do(t, c, "certs", "rotate-ca")
	// Past the end of what the first connections were made with, and the next.
	latest := time.Time{}
	for _, pair := range second {
		if pair.Cert.NotAfter.After(latest) {
			latest = pair.Cert.NotAfter
		}
	}
	harness.Eventually(t, 2*soon, "the certificates of before have ended", func() error {
		if left := time.Until(latest); left > 0 {
			return fmt.Errorf("%s left", left)
		}
		return nil
	})
	load.check(t)
	if now := c.WaitReady(t).PIDs(); fmt.Sprint(now) != fmt.Sprint(pids) {
		t.Errorf("the processes were %v and are %v", pids, now)
	}
	for name, pair := range third {
		if err := pair.Cert.CheckSignatureFrom(in.ca.Cert); strings.HasPrefix(name, "internal/") && err != nil {
			t.Errorf("%s was not signed by the CA of before: %v", name, err)
		}
	}
	if now := insideOf(t, c); now.ca.Cert.Equal(in.ca.Cert) {
		t.Error("the CA is the same")
	}
	if list := do(t, c, "certs", "list"); !strings.Contains(list, "internal/core-self") || !strings.Contains(list, "URI:triptych://core/self") {
		t.Errorf("certs list says:\n%s", list)
	}
	if status := do(t, c, "status"); !strings.Contains(status, "Certs: ") {
		t.Errorf("status says:\n%s", status)
	}
}

// Whoever has stolen keys is shut out at once, at each inner listener, also on connections that were there. Killed half
// way, and with all certificates expired, the next start makes everything whole.
func TestStolenCertificatesAreShutOutAndExpiredOnesReplaced(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := harness.TempDir(t)
	c := harness.Run(t, harness.Options{Dir: dir, Args: []string{"--hop-transport=unix"}})
	load := startEveryday(t, c, "stolen.example.com")
	in, stolen, pids := insideOf(t, c), shortLived(t, c), c.WaitReady(t).PIDs()
	burglars := breakIn(t, in, stolen)
	do(t, c, "certs", "rotate-ca", "--now")
	for _, i := range burglars {
		select {
		case <-i.ended:
		case <-time.After(3 * time.Second):
			t.Errorf("%s: the connection of before is open", i.where)
		}
	}
	for where, at := range doors(in) {
		if conn, err := enter(at, in, stolen); err == nil {
			conn.Close()
			t.Errorf("%s: lets in who shows a certificate of before", where)
		}
		forged := map[string]*harness.Pair{at.as: in.forge(t, strings.ReplaceAll(strings.TrimPrefix(at.as, "internal/"), "-", "/"))}
		if conn, err := enter(at, in, forged); err == nil {
			conn.Close()
			t.Errorf("%s: lets in whom the stolen CA vouches for", where)
		}
	}
	harness.Must(load.journal.client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}))(t)
	load.journal.cancel()
	for _, l := range load.loads {
		l.Stop()
	}
	if now := c.WaitReady(t).PIDs(); fmt.Sprint(now) != fmt.Sprint(pids) {
		t.Errorf("the processes were %v and are %v", pids, now)
	}

	do(t, c, "certs", "rotate-ca", "--step=trust")
	in = insideOf(t, c)
	if err := c.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.GoneWithin(harness.StopBound); err != nil {
		t.Fatal(err)
	}
	etcdCA := harness.Must(harness.LoadPair(c.Path("pki", "etcd", "ca.crt"), c.Path("pki", "etcd", "ca.key")))(t)
	for name, pair := range shortLived(t, c) {
		ca := in.ca
		if strings.HasPrefix(name, "etcd/") {
			ca = etcdCA
		}
		leaf := harness.Leaf{CommonName: pair.Cert.Subject.CommonName, Hosts: pair.Cert.DNSNames, Usage: pair.Cert.ExtKeyUsage, NotAfter: time.Now().Add(-time.Minute)}
		for _, uri := range pair.Cert.URIs {
			leaf.URIs = append(leaf.URIs, uri.String())
		}
		if err := harness.Must(ca.Issue(leaf))(t).Write(c.Path("pki", name)); err != nil {
			t.Fatal(err)
		}
	}
	again := harness.Run(t, harness.Options{Dir: dir})
	if _, err := os.Stat(again.Path("pki", "internal", "next-ca.crt")); !os.IsNotExist(err) {
		t.Errorf("the rotation is not over: %v", err)
	}
	if now := insideOf(t, again); now.ca.Cert.Equal(in.ca.Cert) {
		t.Error("the CA is that of before")
	}
	for name, pair := range shortLived(t, again) {
		if left := time.Until(pair.Cert.NotAfter); left < 20*time.Hour || left > 25*time.Hour {
			t.Errorf("%s ends in %s", name, left)
		}
	}
	kubeconfigForOthers(t, again)
}

// kubeconfigForOthers makes one, and finds out who its holder is.
func kubeconfigForOthers(t *testing.T, c *harness.Cluster) {
	t.Helper()
	file := filepath.Join(harness.TempDir(t), "jane.kubeconfig")
	do(t, c, "kubeconfig", "create", "--user=jane", "--group=dev", "--expires=1h", "-o", file)
	if info := harness.Must(os.Stat(file))(t); info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig has mode %o", info.Mode().Perm())
	}
	jane := harness.API{Kubeconfig: file}
	if user := harness.Must(whoami(t, jane.Config(t)))(t); user.Username != "jane" || !strings.Contains(fmt.Sprint(user.Groups), "dev") {
		t.Errorf("the holder is %+v", user)
	}
	for what, args := range map[string][]string{
		"is there already":            {"kubeconfig", "create", "--user=jane", "-o", file},
		"--user":                      {"kubeconfig", "create"},
		"there is no certificate":     {"certs", "renew", "nobody"},
		"create the service account":  {"token", "create", "--service-account=default/nobody"},
		"want NAMESPACE/NAME":         {"token", "create", "--service-account=nobody"},
		"run the step trust first":    {"certs", "rotate-ca", "--step=sign"},
		"want one of [trust sign dro": {"certs", "rotate-ca", "--step=nothing"},
	} {
		if _, stderr, code := c.Supervisor(t.Context(), args...); code == 0 || !strings.Contains(stderr, what) {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
	if err := os.Rename(c.Path("pki", "ca.key"), c.Path("pki", "ca.key.elsewhere")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := c.Supervisor(t.Context(), "kubeconfig", "create", "--user=jane"); code == 0 || !strings.Contains(stderr, "ca.key is not here") {
		t.Errorf("without the key of the CA: exit code %d, %s", code, stderr)
	}
	if err := os.Rename(c.Path("pki", "ca.key.elsewhere"), c.Path("pki", "ca.key")); err != nil {
		t.Fatal(err)
	}
}
