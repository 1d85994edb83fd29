package spine

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/test/harness"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func serverTLS(serving *harness.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{serving.TLS()}}
}

// Exit codes of docs/reference/exit-codes.md, written down again for scripts' sake.
const (
	exitStarting      = 10
	exitDegraded      = 11
	exitConfiguration = 64
	exitNotRunning    = 69
)

// refusedStart runs the supervisor on a directory and expects it to give up by
// itself, having started nothing.
func refusedStart(t *testing.T, dir string, args ...string) (said string, code int) {
	t.Helper()
	c := harness.Must(harness.Launch(harness.Options{Dir: dir, Args: args}))(t)
	// Not Close: what else runs on the directory is not this test's.
	t.Cleanup(func() { c.End(soon) })
	code, err := c.Wait(soon)
	if err != nil {
		t.Fatalf("it runs: %v\n%s", err, c.Output)
	}
	if code == 0 {
		t.Errorf("it ends with 0:\n%s", c.Output)
	}
	return c.Output.String(), code
}

func TestSecondSupervisorIsRefused(t *testing.T) {
	c := harness.Shared(t)
	said, code := refusedStart(t, c.Dir)
	if code == 0 || !strings.Contains(said, fmt.Sprint(c.PID())) {
		t.Errorf("ends with %d and does not name process %d: %s", code, c.PID(), said)
	}
	if s, _, err := c.Status(); err != nil || s.Phase != "Ready" {
		t.Errorf("the first is now %v %v", s, err)
	}
}

// A mistake is told in one line, before anything has started or been written.
func TestMistakesAreToldBeforeAnythingStarts(t *testing.T) {
	taken := harness.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer taken.Close()
	takenPort := taken.Addr().(*net.TCPAddr).Port
	foreign := harness.TempDir(t)
	harness.WriteFile(t, foreign+"/somebody-elses", []byte("precious"), 0o644)

	for name, mistake := range map[string]struct {
		dir  string
		args []string
		want string
	}{
		"unknown flag":         {args: []string{"--no-such-flag=1"}, want: "no-such-flag"},
		"unknown flag's value": {args: []string{"--feature-gates=NoSuchGate=true"}, want: "NoSuchGate"},
		"taken port":           {args: []string{"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", takenPort)}, want: fmt.Sprint(takenPort)},
		"port out of range":    {args: []string{"--secure-port=70000"}, want: "70000"},
		"foreign directory":    {dir: foreign, want: "somebody-elses"},
		"no such file":         {args: []string{"--tls-cert-file=/nonexistent.crt", "--tls-private-key-file=/nonexistent.key"}, want: "/nonexistent.crt"},
		"insecure outside":     {args: []string{"--insecure-port=8080", "--insecure-bind-address=0.0.0.0"}, want: "0.0.0.0"},
		"bad URL of etcd":      {args: []string{"--etcd-servers=nowhere"}, want: "nowhere"},
		"bad authorization":    {args: []string{"--authorization-mode=Nonsense"}, want: "Nonsense"},
		"bad config file":      {args: []string{"--config=/nonexistent.yaml"}, want: "/nonexistent.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			if mistake.dir == "" {
				mistake.dir = harness.TempDir(t)
			}
			said, code := refusedStart(t, mistake.dir, mistake.args...)
			if code != exitConfiguration && name != "taken port" && name != "foreign directory" {
				t.Errorf("ends with %d", code)
			}
			var complaints []string
			for _, line := range lines(said) {
				if strings.HasPrefix(line, "error:") {
					complaints = append(complaints, line)
				}
			}
			if len(complaints) != 1 || !strings.Contains(complaints[0], mistake.want) {
				t.Errorf("want one line of error with %q, got:\n%s", mistake.want, said)
			}
			if left := harness.ProcsOf(mistake.dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if content := harness.Must(os.ReadFile(foreign + "/somebody-elses"))(t); string(content) != "precious" {
		t.Error("somebody else's directory has been touched")
	}
	if entries := harness.Must(os.ReadDir(foreign))(t); len(entries) != 1 {
		t.Errorf("somebody else's directory now holds %v", entries)
	}
}

// Flags that the supervisor does not know reach the tiers that do.
func TestFlagsOfKubeAPIServerReachTheTiers(t *testing.T) {
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600)
	c := harness.Run(t, harness.Options{Args: []string{
		"--advertise-address=192.0.2.7", "--service-cluster-ip-range=10.77.0.0/24", "--v=2",
		"--runtime-config=autoscaling/v1=false", "--feature-gates=OpenAPIEnums=false",
		"--disable-admission-plugins=DefaultStorageClass", "--enable-admission-plugins=AlwaysPullImages",
		"--audit-policy-file=" + files + "/audit.yaml", "--audit-log-path=" + files + "/audit.log",
		"--authorization-mode", "RBAC",
		"--oidc-issuer-url=https://issuer.invalid", "--oidc-client-id=kubernetes", "--oidc-username-prefix=oidc:",
	}})
	served(t, &c.API, "/api/v1/namespaces/default/services/kubernetes") // made by a controller, as kube-apiserver does
	if ip := c.Kubectl(t, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"); ip != "10.77.0.1" {
		t.Errorf("the kubernetes Service is at %s", ip)
	}
	harness.Eventually(t, soon, "the endpoint is the advertised address", func() error {
		got := c.Kubectl(t, "get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[0].addresses[0]}:{.ports[0].port}")
		if want := "192.0.2.7:" + c.URL(t)[strings.LastIndex(c.URL(t), ":")+1:]; got != want {
			return fmt.Errorf("it is %s, want %s", got, want)
		}
		return nil
	})
	if got := c.Get(t, "/apis/autoscaling/v1"); got.Code != http.StatusNotFound {
		t.Errorf("autoscaling/v1 is served: %d", got.Code)
	}
	c.Kubectl(t, "create", "serviceaccount", "default")
	pod := `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pulled"}, "spec":
		{"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "nginx", "imagePullPolicy": "Never"}]}}`
	if policy := c.KubectlInput(t, pod, "create", "-f", "-", "-o", "jsonpath={.spec.containers[0].imagePullPolicy}"); policy != "Always" {
		t.Errorf("the admission plugin leaves the policy %s", policy)
	}
	audit, err := os.ReadFile(files + "/audit.log")
	if err != nil || !strings.Contains(string(audit), `"verb":"create"`) {
		t.Errorf("the audit log says %q, %v", firstLines(string(audit), 3), err)
	}
}

func TestStatusExitCodesAndFormats(t *testing.T) {
	c := harness.Shared(t)
	for _, format := range []string{"", "json", "yaml", "wide"} {
		args := []string{"status"}
		if format != "" {
			args = append(args, "-o", format)
		}
		stdout, stderr, code := c.Supervisor(t.Context(), args...)
		if code != 0 || !strings.Contains(stdout, "aggregator") || stderr != "" {
			t.Errorf("status %v exits with %d, prints %q and %q", args, code, stdout, stderr)
		}
		var fromYAML harness.Status
		if format == "yaml" && (yaml.Unmarshal([]byte(stdout), &fromYAML) != nil || fromYAML.Phase != "Ready" || len(fromYAML.Tiers) != 3) {
			t.Errorf("status -o yaml prints %s", stdout)
		}
	}
	if _, stderr, code := c.Supervisor(t.Context(), "status", "-o", "xml"); code != exitConfiguration || !strings.Contains(stderr, "xml") {
		t.Errorf("status -o xml exits with %d: %s", code, stderr)
	}
	empty := harness.TempDir(t)
	if _, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "status", "--data-dir", empty); code == 0 || stderr == "" {
		t.Errorf("status of nothing exits with %d: %q", code, stderr)
	}
	// Of one that does not run any more: the lock and the socket may be left.
	dir := harness.TempDir(t)
	starting := harness.Begin(t, harness.Options{Dir: dir})
	harness.Eventually(t, soon, "status tells Starting", func() error {
		s, code, err := starting.Status()
		if err == nil && (s.Phase != "Starting" || code != exitStarting) && s.Phase != "Ready" {
			err = fmt.Errorf("%v, exit code %d", s, code)
		}
		return err
	})
	starting.Signal(syscall.SIGKILL)
	starting.Wait(soon)
	if _, stderr, code := starting.Supervisor(t.Context(), "status"); code != exitNotRunning || !strings.Contains(stderr, "error:") {
		t.Errorf("status of a dead supervisor exits with %d: %q", code, stderr)
	}
}

// Stop returns when all is gone; that there is nothing to stop is a success.
func TestStopCommand(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	if stdout, stderr, code := c.Supervisor(t.Context(), "stop"); code != 0 {
		t.Fatalf("stop exits with %d: %s%s", code, stdout, stderr)
	}
	if left := harness.ProcsOf(c.Dir); len(left) > 1 || len(left) == 1 && left[0].PID != c.PID() {
		t.Errorf("stop has returned, and there are %v", left)
	}
	if code, err := c.Wait(soon); err != nil || code != 0 {
		t.Errorf("the supervisor ends with %d, %v", code, err)
	}
	if _, stderr, code := c.Supervisor(t.Context(), "stop"); code != 0 {
		t.Errorf("stopping nothing exits with %d: %s", code, stderr)
	}
}

// Restart replaces one tier, gracefully, and returns when it is ready again.
func TestRestartCommand(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{})
	c.Kubectl(t, "create", "configmap", "read")
	before := c.WaitReady(t)
	for _, tier := range []string{"extensions", "core", "aggregator"} {
		if _, stderr, code := c.Supervisor(t.Context(), "restart", tier); code != 0 {
			t.Fatalf("restart %s exits with %d: %s", tier, code, stderr)
		}
		after := c.WaitReady(t)
		for name, pid := range after.PIDs() {
			if (pid != before.PIDs()[name]) != (name == tier) {
				t.Errorf("after restart %s, %s is %d and was %d", tier, name, pid, before.PIDs()[name])
			}
		}
		served(t, &c.API, "/api/v1/namespaces/default/configmaps/read")
		before = after
	}
	if _, stderr, code := c.Supervisor(t.Context(), "restart", "nobody"); code != exitConfiguration || !strings.Contains(stderr, "core") {
		t.Errorf("restart nobody exits with %d: %s", code, stderr)
	}
}

func TestLogsCommand(t *testing.T) {
	c := harness.Shared(t)
	for _, tier := range []string{"core", "extensions", "aggregator", "etcd"} {
		want := harness.Must(os.ReadFile(c.Path("log", tier+".log")))(t)
		stdout, stderr, code := c.Supervisor(t.Context(), "logs", tier)
		if first := strings.SplitN(string(want), "\n", 2)[0]; code != 0 || !strings.Contains(stdout, first) {
			t.Errorf("logs %s exits with %d and does not print %q: %s", tier, code, first, stderr)
		}
	}
	if stdout, _, code := c.Supervisor(t.Context(), "logs"); code != 0 || !strings.Contains(stdout, "core") || !strings.Contains(stdout, "aggregator") {
		t.Errorf("logs exits with %d and prints %s", code, firstLines(stdout, 5))
	}
	if _, stderr, code := c.Supervisor(t.Context(), "logs", "nobody"); code != exitConfiguration {
		t.Errorf("logs nobody exits with %d: %s", code, stderr)
	}
	// Following ends when the reader goes.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if stdout, _, _ := c.Supervisor(ctx, "logs", "-f", "core"); stdout == "" {
		t.Error("logs -f prints nothing")
	}
}

func TestKubeconfigCommand(t *testing.T) {
	c := harness.Shared(t)
	want := harness.Must(os.ReadFile(c.Kubeconfig))(t)
	if stdout, stderr, code := c.Supervisor(t.Context(), "kubeconfig"); code != 0 || stdout != string(want) {
		t.Errorf("kubeconfig exits with %d and prints %q %q", code, stdout, stderr)
	}
}

func TestCompletionCommand(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		stdout, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "completion", shell)
		if code != 0 || !strings.Contains(stdout, "supervisor") {
			t.Errorf("completion %s exits with %d: %s", shell, code, stderr)
		}
	}
}

// What the configuration file says counts where the command line says nothing.
func TestConfigurationFile(t *testing.T) {
	file := harness.TempDir(t) + "/config.yaml"
	harness.WriteFile(t, file, []byte(`apiVersion: supervisor.triptych.dev/v1alpha1
kind: SupervisorConfiguration
bindAddress: 127.0.0.1
securePort: 1
flags:
  service-cluster-ip-range: 10.88.0.0/24
`), 0o600)
	// The harness gives --secure-port=0, which wins over a port that it could not have.
	c := harness.Run(t, harness.Options{Args: []string{"--config", file}})
	if url := c.URL(t); !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Errorf("it serves %s", url)
	}
	if ip := c.Kubectl(t, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"); ip != "10.88.0.1" {
		t.Errorf("the kubernetes Service is at %s", ip)
	}
	harness.WriteFile(t, file, []byte("apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\nsecurePrt: 1\n"), 0o600)
	if said, code := refusedStart(t, harness.TempDir(t), "--config", file); code != exitConfiguration || !strings.Contains(said, "securePrt") {
		t.Errorf("a misspelled setting: it ends with %d: %s", code, said)
	}
}
