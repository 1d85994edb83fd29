package harness

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RunControllers starts the unchanged kube-controller-manager for an API whose
// PKI is in dir/pki, and ends it with the test. As kubeadm runs it, it has an
// identity of its own and a service account for each controller, so that RBAC
// and tokens count for it in every tier.
func RunControllers(t testing.TB, api *API, dir string, args ...string) *Process {
	t.Helper()
	pki := func(name string) string { return filepath.Join(dir, "pki", name) }
	ca := Must(LoadPair(pki("ca.crt"), pki("ca.key")))(t)
	who := Must(ca.Issue(Leaf{CommonName: "system:kube-controller-manager", Usage: clientUsage}))(t)
	kubeconfig := filepath.Join(TempDir(t), "controllers.kubeconfig")
	if err := writeKubeconfig(kubeconfig, api.Config(t).Host, ca, who); err != nil {
		t.Fatal(err)
	}
	p := Must(StartProcess(syscall.SIGKILL, nil, Bin("stock/kube-controller-manager"), append([]string{
		"--kubeconfig=" + kubeconfig, "--use-service-account-credentials", "--leader-elect=false",
		// It serves nobody here.
		"--secure-port=0",
		"--root-ca-file=" + pki("ca.crt"), "--service-account-private-key-file=" + pki("sa.key"),
		"--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
	}, args...)...))(t)
	t.Cleanup(func() {
		if err := p.End(StopBound); err != nil {
			t.Error(err)
		}
	})
	awaitControllers(t, api, p)
	return p
}

// awaitControllers waits for what the controllers make in every namespace, and
// what pods and clients in it rely on.
func awaitControllers(t testing.TB, api *API, p *Process) {
	t.Helper()
	client := api.Clientset(t).CoreV1()
	err := Await(t.Context(), StartBound, "the controllers work", func() error {
		_, account := client.ServiceAccounts(corev1.NamespaceDefault).Get(t.Context(), "default", metav1.GetOptions{})
		_, bundle := client.ConfigMaps(corev1.NamespaceDefault).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return errors.Join(account, bundle)
	})
	if err != nil {
		t.Fatalf("%v\nkube-controller-manager printed:\n%s", err, tail(p.Output.String(), 20))
	}
}
