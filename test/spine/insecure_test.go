package spine

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// insecure is a cluster with an insecure port, which is what the test's requests
// go through.
type insecure struct {
	*harness.Cluster
	url string
	// audit is the path of the audit log.
	audit string
}

func runInsecure(t *testing.T) *insecure {
	t.Helper()
	files := harness.TempDir(t)
	i := &insecure{audit: files + "/audit.log"}
	harness.WriteFile(t, files+"/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600)
	port := harness.Must(harness.FreePort())(t)
	i.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	i.Cluster = harness.Run(t, harness.Options{Args: []string{
		fmt.Sprintf("--insecure-port=%d", port),
		"--audit-policy-file=" + files + "/audit.yaml", "--audit-log-path=" + i.audit,
	}})
	return i
}

func (i *insecure) config() *rest.Config { return &rest.Config{Host: i.url, QPS: -1} }

func (i *insecure) send(t *testing.T, method, path, body string, headers ...string) harness.Answer {
	t.Helper()
	return harness.Must(harness.Send(t.Context(), i.config(), method, path, body, headers...))(t)
}

// kubectl runs with no credentials at all.
func (i *insecure) kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"--kubeconfig=/dev/null", "--cache-dir", harness.TempDir(t), "--server", i.url}, args...)
	stdout, stderr, code := harness.Command(t.Context(), harness.Bin("kubectl"), args...)
	if code != 0 {
		return stdout, fmt.Errorf("kubectl exits with %d: %s", code, stderr)
	}
	return stdout, nil
}

// Whoever connects from this machine is system:unsecured, an administrator, and
// is judged and audited where the request is served.
func TestInsecurePortServesThisMachine(t *testing.T) {
	i := runInsecure(t)
	if now := i.WaitReady(t); now.InsecureURL != i.url {
		t.Errorf("the status shows %q, want %s", now.InsecureURL, i.url)
	}
	const group = "insecure.example.com"
	installCRD(t, &i.API, group)
	path := createGadget(t, &i.API, group, "one")

	t.Run("kubectl", func(t *testing.T) {
		if out := harness.Must(i.kubectl(t, "get", "namespaces", "-o", "name"))(t); !strings.Contains(out, "namespace/default\n") {
			t.Error(out)
		}
		if out := harness.Must(i.kubectl(t, "get", "gadgets."+group, "one", "-o", "name"))(t); !strings.Contains(out, "one") {
			t.Error(out)
		}
		if out := harness.Must(i.kubectl(t, "get", "apiservices", "v1.apps", "-o", "name"))(t); !strings.Contains(out, "v1.apps") {
			t.Error(out)
		}
	})
	t.Run("who am I", func(t *testing.T) { i.whoAmI(t) })
	t.Run("impersonation", func(t *testing.T) {
		if _, err := i.kubectl(t, "get", "secrets", "--as=jane"); err == nil || !strings.Contains(err.Error(), `User "jane" cannot list`) {
			t.Errorf("%v", err)
		}
		if _, err := i.kubectl(t, "get", "secrets", "--as=jane", "--as-group=system:masters"); err != nil {
			t.Error(err)
		}
	})
	t.Run("same answers", func(t *testing.T) {
		large := `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"k": "` + strings.Repeat("x", 4<<20) + `"}}`
		for _, request := range []struct{ method, path, body string }{
			{"GET", path, ""}, {"GET", "/api/v1/nothing", ""}, {"GET", "/version", ""}, {"GET", "/readyz", ""},
			{"POST", "/api/v1/namespaces/default/configmaps", large},
		} {
			ours := i.send(t, request.method, request.path, request.body, "Content-Type", "application/json")
			secure := harness.Must(harness.Send(t.Context(), i.Config(t), request.method, request.path, request.body, "Content-Type", "application/json"))(t)
			if ours.Code != secure.Code || string(ours.Body) != string(secure.Body) {
				t.Errorf("%s %s: %s\non the secure port: %s", request.method, request.path, ours, secure)
			}
		}
	})
	t.Run("strangers", func(t *testing.T) { i.refusesStrangers(t) })
	t.Run("watch", func(t *testing.T) { i.watches(t, group) })
	t.Run("exec", func(t *testing.T) { i.execs(t) })
	t.Run("audit", func(t *testing.T) { i.audits(t, path) })
	t.Run("a new head", func(t *testing.T) {
		kill(t, i.Cluster, "aggregator")
		if got := i.send(t, "GET", path, ""); got.Code != http.StatusOK {
			t.Errorf("%s", got)
		}
	})
	t.Run("stop", func(t *testing.T) { i.stops(t) })
}

func (i *insecure) whoAmI(t *testing.T) {
	client := harness.Must(kubernetes.NewForConfig(i.config()))(t)
	review := harness.Must(client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}))(t)
	me := review.Status.UserInfo
	if me.Username != "system:unsecured" || strings.Join(me.Groups, " ") != "system:masters system:authenticated" {
		t.Errorf("I am %+v", me)
	}
	// Nobody is anybody else by saying so: neither more, nor locked out.
	for _, headers := range [][]string{
		{"Authorization", "Bearer nonsense"},
		{"X-Remote-User", "mallory"},
		{"X-Triptych-Identity", "forged"},
	} {
		got := i.send(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
			`{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}`, append(headers, "Content-Type", "application/json")...)
		if got.Code != http.StatusCreated || !strings.Contains(string(got.Body), `"username":"system:unsecured"`) {
			t.Errorf("%v: %s", headers, got)
		}
	}
}

func (i *insecure) refusesStrangers(t *testing.T) {
	for _, stranger := range []struct{ host, origin string }{
		{"evil.example", ""}, {"evil.example:8080", ""}, {"192.0.2.1", ""},
		{"", "https://evil.example"}, {"", "null"}, {"localhost", "http://evil.example"},
	} {
		r := harness.Must(http.NewRequestWithContext(t.Context(), "GET", i.url+"/api/v1/namespaces", nil))(t)
		r.Host = stranger.host
		if stranger.origin != "" {
			r.Header.Set("Origin", stranger.origin)
		}
		got := harness.Must(harness.Do(http.DefaultClient, r))(t)
		var status metav1.Status
		if got.Into(t, &status); got.Code != http.StatusForbidden || status.Kind != "Status" || status.Reason != metav1.StatusReasonForbidden {
			t.Errorf("%v: %s", stranger, got)
		}
	}
	if got := i.send(t, "GET", "/api/v1/namespaces", "", "Origin", "http://localhost:3000"); got.Code != http.StatusOK {
		t.Errorf("a page of this machine's: %s", got)
	}
}

func (i *insecure) watches(t *testing.T, group string) {
	client := harness.Must(kubernetes.NewForConfig(i.config()))(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	w := harness.Must(client.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{}))(t)
	defer w.Stop()
	seenAtOnce(t, w, func(name string) error {
		i.Kubectl(t, "create", "configmap", name)
		return nil
	})
}

// execs runs a command in a pod, on a kubelet that answers whatever is typed.
func (i *insecure) execs(t *testing.T) {
	kubelet := harness.Must(tls.Listen("tcp", "127.0.0.1:0", serverTLS(i.CA(t))))(t)
	asked := make(chan string, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		echo(w, r)
	})}
	go server.Serve(kubelet)
	t.Cleanup(func() { server.Close() })
	i.runPod(t, kubelet.Addr().(*net.TCPAddr).Port)

	u := harness.Must(url.Parse(i.url))(t)
	c := harness.Must(net.Dial("tcp", u.Host))(t)
	defer c.Close()
	c.SetDeadline(time.Now().Add(soon))
	fmt.Fprintf(c, "POST /api/v1/namespaces/default/pods/shell/exec?command=cat&stdin=true&stdout=true HTTP/1.1\r\nHost: %s\r\n"+
		"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n", u.Host)
	r := bufio.NewReader(c)
	resp := harness.Must(http.ReadResponse(r, nil))(t)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s %s", resp.Status, harness.Must(io.ReadAll(resp.Body))(t))
	}
	if path := <-asked; path != "/exec/default/shell/main" {
		t.Errorf("the kubelet is asked for %s", path)
	}
	fmt.Fprint(c, "typed\n")
	if line, err := r.ReadString('\n'); err != nil || line != "typed\n" {
		t.Errorf("%q comes back, %v", line, err)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.Header().Set("X-Stream-Protocol-Version", r.Header.Get("X-Stream-Protocol-Version"))
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	for {
		line, err := buffered.ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprint(c, line)
	}
}

// runPod makes a pod "shell" that the kubelet at port claims to run.
func (i *insecure) runPod(t *testing.T, port int) {
	t.Helper()
	i.KubectlInput(t, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "local"}}`, "create", "-f", "-")
	i.Kubectl(t, "patch", "node", "local", "--subresource=status", "--type=merge", "-p",
		`{"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": `+strconv.Itoa(port)+`}}}}`)
	i.Kubectl(t, "create", "serviceaccount", "default")
	i.KubectlInput(t, `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell"}, "spec": {"nodeName": "local",
		"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "none"}]}}`, "create", "-f", "-")
}

func (i *insecure) audits(t *testing.T, path string) {
	i.send(t, "GET", path+"?audited=yes", "")
	harness.Eventually(t, soon, "the request is audited", func() error {
		log, err := os.ReadFile(i.audit)
		if err != nil {
			return err
		}
		for _, line := range lines(string(log)) {
			var event auditv1.Event
			if json.Unmarshal([]byte(line), &event) == nil && event.RequestURI == path+"?audited=yes" && event.Stage == "ResponseComplete" {
				if event.User.Username != "system:unsecured" || strings.Join(event.SourceIPs, " ") != "127.0.0.1" {
					t.Errorf("audited as %s", line)
				}
				return nil
			}
		}
		return fmt.Errorf("not in %d lines", len(lines(string(log))))
	})
}

// stops ends watches cleanly and the port first; the rest keeps its order.
func (i *insecure) stops(t *testing.T) {
	resp := harness.Must(http.Get(i.url + "/api/v1/namespaces?watch=true"))(t)
	defer resp.Body.Close()
	i.Signal(syscall.SIGTERM)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the watch ends with %v", err)
	}
	if c, err := net.Dial("tcp", strings.TrimPrefix(i.url, "http://")); err == nil {
		c.Close()
		t.Error("the port is open")
	}
	if code, err := i.Wait(harness.StopBound); err != nil || code != 0 {
		t.Errorf("the stop ends with %d, %v", code, err)
	}
}

// Nobody gets in without TLS unless it was asked for, and then from this machine
// alone.
func TestInsecurePortIsOffByDefaultAndNeverOutsideLoopback(t *testing.T) {
	c := harness.Shared(t)
	if now := c.WaitReady(t); now.InsecureURL != "" {
		t.Errorf("it is open at %s", now.InsecureURL)
	}
	free := harness.Must(harness.FreePort())(t)
	for want, args := range map[string][]string{
		"0.0.0.0":               {fmt.Sprintf("--insecure-port=%d", free), "--insecure-bind-address=0.0.0.0"},
		"::":                    {fmt.Sprintf("--insecure-port=%d", free), "--insecure-bind-address=::"},
		"192.0.2.1":             {"--insecure-bind-address=192.0.2.1"},
		"--insecure-port=70000": {"--insecure-port=70000"},
	} {
		dir := harness.TempDir(t)
		said, code := refusedStart(t, dir, args...)
		if code != exitConfiguration || !strings.HasPrefix(said, "error: ") || !strings.Contains(said, want) || len(lines(said)) != 1 {
			t.Errorf("%v: it ends with %d: %s", args, code, said)
		}
		if left := harness.ProcsOf(dir); len(left) > 0 {
			t.Errorf("%v: left behind: %v", args, left)
		}
	}
}
