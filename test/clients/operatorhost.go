package clients

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/clients/operator"
	"triptych.dev/triptych/test/harness"
)

// operatorHost is what two processes of an operator need.
type operatorHost struct {
	w          *world
	ca         *harness.Pair
	kubeconfig string
	ports      [2]int
	certs      string
}

// newOperators makes the identity of the operator: a service account, its token
// and what it may do.
func (w *world) newOperators(t *testing.T) *operatorHost {
	t.Helper()
	o := &operatorHost{w: w, ca: harness.Must(harness.NewCA("operator-ca"))(t), certs: t.TempDir()}
	pair := harness.Must(o.ca.Issue(harness.Leaf{CommonName: "operator", Hosts: []string{"127.0.0.1"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))(t)
	if err := pair.Write(filepath.Join(o.certs, "tls")); err != nil {
		t.Fatal(err)
	}
	for i := range o.ports {
		o.ports[i] = harness.Must(harness.FreePort())(t)
	}
	w.apply(t, `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operator}
rules:
- {apiGroups: [operator.clients.example.com], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [configmaps], verbs: ["*"]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: ["*"]}
- {apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, patch]}
`)
	w.Kubectl(t, "-n", cellar, "create", "rolebinding", "operator", "--clusterrole=operator", "--serviceaccount="+cellar+":default")
	token := harness.Must(w.Clientset(t).CoreV1().ServiceAccounts(cellar).
		CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t)
	config := w.Config(t)
	o.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"+
		"clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]\nusers: [{name: u, user: {token: %s}}]\n",
		config.Host, harness.Base64(config.CAData), token.Status.Token)
	if err := os.WriteFile(o.kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// start starts one of the two.
func (o *operatorHost) start(t *testing.T, i int) *harness.Process {
	t.Helper()
	p := harness.Must(harness.StartProcess(syscall.SIGKILL, []string{
		operator.KubeconfigEnv + "=" + o.kubeconfig, operator.CertDirEnv + "=" + o.certs, fmt.Sprintf("%s=%d", operator.PortEnv, o.ports[i]),
	}, os.Args[0]))(t)
	name := fmt.Sprintf("operator-%d-%d", i, p.PID())
	o.w.beside[name] = p
	t.Cleanup(func() {
		p.End(harness.StopBound)
		if t.Failed() {
			lines := p.Output.Lines()
			t.Logf("%s printed:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	})
	return p
}

// webhooks registers those of the first for new casks, those of the second for
// changes.
func (o *operatorHost) webhooks(t *testing.T) {
	t.Helper()
	hook := func(kind, path, operation string, port int) string {
		return fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: %sWebhookConfiguration
metadata: {name: operator-%s, labels: {of: operator}}
webhooks:
- name: %[2]s.operator.clients.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 5
  rules: [{apiGroups: [operator.clients.example.com], apiVersions: [v1], operations: [%s], resources: [casks]}]
  clientConfig: {url: "https://127.0.0.1:%d/%s-operator-clients-example-com-v1-cask", caBundle: %s}
---
`, kind, strings.ToLower(kind+"-"+operation), operation, port, path, harness.Base64(o.ca.CertPEM()))
	}
	o.w.apply(t, hook("Mutating", "mutate", "CREATE", o.ports[0])+hook("Validating", "validate", "CREATE", o.ports[0])+
		hook("Validating", "validate", "UPDATE", o.ports[1]))
}

// alive demands that the processes live.
func (o *operatorHost) alive(t *testing.T, processes ...*harness.Process) {
	t.Helper()
	for _, p := range processes {
		select {
		case <-p.Exited():
			t.Errorf("an operator has ended by itself: %s", p.Output.Lines()[len(p.Output.Lines())-1])
		default:
		}
	}
}
