package harness

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// API is a Kubernetes API that runs, ours or stock, and its administrator.
type API struct {
	// Kubeconfig is the administrator's.
	Kubeconfig string
}

// Config returns a new client configuration of the administrator, without the
// client's own rate limit.
func (a *API) Config(t testing.TB) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", a.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

// ConfigFor returns a configuration of whoever holds the certificate.
func (a *API) ConfigFor(t testing.TB, who *Pair) *rest.Config {
	t.Helper()
	config := a.Anonymous(t)
	config.CertData, config.KeyData = who.CertPEM(), who.KeyPEM()
	return config
}

// Anonymous returns a configuration without credentials.
func (a *API) Anonymous(t testing.TB) *rest.Config {
	t.Helper()
	config := rest.AnonymousClientConfig(a.Config(t))
	config.QPS = -1
	return config
}

// Clientset returns the administrator's typed client.
func (a *API) Clientset(t testing.TB) kubernetes.Interface {
	t.Helper()
	return Must(kubernetes.NewForConfig(a.Config(t)))(t)
}

// Dynamic returns the administrator's client for any resource.
func (a *API) Dynamic(t testing.TB) dynamic.Interface {
	t.Helper()
	return Must(dynamic.NewForConfig(a.Config(t)))(t)
}

// Discovery returns the administrator's discovery client.
func (a *API) Discovery(t testing.TB) discovery.DiscoveryInterface {
	t.Helper()
	return Must(discovery.NewDiscoveryClientForConfig(a.Config(t)))(t)
}

// TLS returns what a raw connection to the API as the administrator needs.
func (a *API) TLS(t testing.TB) *tls.Config {
	t.Helper()
	config := Must(rest.TLSConfigFor(a.Config(t)))(t)
	return config
}

// Answer is a complete HTTP response.
type Answer struct {
	Code   int
	Header http.Header
	Body   []byte
}

// String is for failures.
func (a Answer) String() string {
	body := string(a.Body)
	if len(body) > 500 {
		body = body[:500] + "..."
	}
	return fmt.Sprintf("%d %s", a.Code, body)
}

// Into decodes the body as JSON, or fails the test.
func (a Answer) Into(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, into); err != nil {
		t.Fatalf("cannot decode %s: %v", a, err)
	}
}

// Get sends one GET as the administrator and never repeats it, whatever the
// answer. headers are pairs of name and value.
func (a *API) Get(t testing.TB, path string, headers ...string) Answer {
	t.Helper()
	return Must(Send(t.Context(), a.Config(t), http.MethodGet, path, "", headers...))(t)
}

// Send sends one request with the credentials of config and never repeats it,
// unlike client-go, which would hide what a test looks for.
func Send(ctx context.Context, config *rest.Config, method, path, body string, headers ...string) (Answer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(config.Host, "/")+path, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
	}
	return Do(client, req)
}

// Do sends req and reads the whole answer.
func Do(client *http.Client, req *http.Request) (Answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return Answer{Code: resp.StatusCode, Header: resp.Header, Body: content}, err
}

// Kubectl runs bin/kubectl as the administrator and returns what it prints to
// standard output; a failure fails the test.
func (a *API) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return a.KubectlInput(t, "", args...)
}

// KubectlInput is Kubectl with a standard input.
func (a *API) KubectlInput(t testing.TB, input string, args ...string) string {
	t.Helper()
	out, err := a.TryKubectl(t, input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryKubectl is KubectlInput whose failure is an error that holds what kubectl
// said.
func (a *API) TryKubectl(t testing.TB, input string, args ...string) (string, error) {
	t.Helper()
	// No cache on disk: another test's discovery must not answer for this one.
	args = append([]string{"--kubeconfig", a.Kubeconfig, "--cache-dir", TempDir(t)}, args...)
	cmd := exec.CommandContext(t.Context(), Bin("kubectl"), args...)
	var stderr strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args[4:], " "), err, out, stderr.String())
	}
	return string(out), nil
}

// Must turns a value and an error into the value, or fails the test:
//
//	Must(os.ReadFile(path))(t)
func Must[T any](value T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// PoolOf reads CA certificates from a file.
func PoolOf(t testing.TB, pemData []byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pemData) {
		t.Fatal("no certificate in the CA bundle")
	}
	return pool
}

// Must2 is Must for two values.
func Must2[A, B any](a A, b B, err error) func(t testing.TB) (A, B) {
	return func(t testing.TB) (A, B) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}
