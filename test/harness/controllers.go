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
	kubeconfig := kubeconfigFor(t, api, dir, "system:kube-controller-manager")
	p := runBeside(t, "stock/kube-controller-manager", append([]string{
		"--kubeconfig=" + kubeconfig, "--use-service-account-credentials", "--leader-elect=false",
		// It serves nobody here.
		"--secure-port=0",
		"--root-ca-file=" + pki("ca.crt"), "--service-account-private-key-file=" + pki("sa.key"),
		"--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
	}, args...)...)
	awaitControllers(t, api, p)
	return p
}

// RunScheduler starts the unchanged kube-scheduler beside RunControllers, with
// leader election as in a cluster, and ends it with the test.
func RunScheduler(t testing.TB, api *API, dir string) *Process {
	t.Helper()
	kubeconfig := kubeconfigFor(t, api, dir, "system:kube-scheduler")
	return runBeside(t, "stock/kube-scheduler", "--kubeconfig="+kubeconfig, "--secure-port=0",
		"--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig)
}

// kubeconfigFor writes a kubeconfig of a user whose certificate is of the CA in
// dir/pki, and returns its path.
func kubeconfigFor(t testing.TB, api *API, dir, user string) string {
	t.Helper()
	ca := Must(LoadPair(filepath.Join(dir, "pki", "ca.crt"), filepath.Join(dir, "pki", "ca.key")))(t)
	who := Must(ca.Issue(Leaf{CommonName: user, Usage: clientUsage}))(t)
	path := filepath.Join(TempDir(t), "kubeconfig")
	if err := writeKubeconfig(path, api.Config(t).Host, ca, who); err != nil {
		t.Fatal(err)
	}
	return path
}

// runBeside starts a program that works with an API, and ends it with the test.
func runBeside(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := Must(StartProcess(syscall.SIGKILL, nil, Bin(name), args...))(t)
	t.Cleanup(func() {
		if err := p.End(StopBound); err != nil {
			t.Error(err)
		}
	})
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
