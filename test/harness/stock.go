package harness

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

var (
	clientUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	serverUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	bothUsages  = append(serverUsage, clientUsage...)
)

// Stock is the unchanged kube-apiserver, and flags equal to those that the
// supervisor hands to the tiers.
type Stock struct {
	API
	*Process
	// Etcd is its own, nil if it was given another by --etcd-servers.
	Etcd *Etcd
	Dir  string

	start func() (*Process, error)
}

// LaunchStock starts it in dir and does not wait.
func LaunchStock(dir string, args ...string) (*Stock, error) {
	return LaunchStockWith(nil, dir, args...)
}

// LaunchStockWith is LaunchStock with more variables, "NAME=value".
func LaunchStockWith(env []string, dir string, args ...string) (*Stock, error) {
	if err := Build(); err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	s := &Stock{Dir: dir, API: API{Kubeconfig: dir + "/admin.kubeconfig"}}
	if err := writeStockPKI(dir, fmt.Sprintf("https://127.0.0.1:%d", port)); err != nil {
		return nil, err
	}
	flags := stockFlags(dir, port)
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--etcd-servers") }) {
		if s.Etcd, err = StartEtcd(dir + "/etcd"); err != nil {
			return nil, err
		}
		flags = append(flags, s.Etcd.Flags()...)
	}
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--authorization-config=") }) {
		flags = slices.DeleteFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--authorization-mode=") }) // they exclude each other
	}
	s.start = func() (*Process, error) {
		return StartProcess(syscall.SIGTERM, env, Bin("stock/kube-apiserver"), append(flags, args...)...)
	}
	if err = s.Again(); err != nil {
		s.endEtcd(time.Second)
	}
	return s, err
}

// Again starts the server anew, with the same flags and data, after it has exited.
func (s *Stock) Again() (err error) {
	s.Process, err = s.start()
	return err
}

func (s *Stock) endEtcd(bound time.Duration) {
	if s.Etcd != nil {
		s.Etcd.End(bound)
	}
}

// RunStock starts a stock server for the test and waits until it is ready.
func RunStock(t testing.TB, args ...string) *Stock {
	t.Helper()
	s := BeginStock(t, args...)
	if err := s.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	return s
}

// BeginStock is RunStock that does not wait.
func BeginStock(t testing.TB, args ...string) *Stock {
	t.Helper()
	s, err := LaunchStock(TempDir(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// AwaitReady waits for /readyz.
func (s *Stock) AwaitReady() error {
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	err = Await(ctx, StartBound, "the stock server is ready", func() error { return readyz(config) })
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, tail(s.Output.String(), 30))
		if s.Etcd != nil {
			err = fmt.Errorf("%w\netcd: %s", err, tail(s.Etcd.Output.String(), 10))
		}
	}
	return err
}

func readyz(config *rest.Config) error {
	answer, err := Send(context.Background(), config, http.MethodGet, "/readyz", "")
	if err == nil && answer.Code != http.StatusOK {
		err = fmt.Errorf("/readyz: %s", answer)
	}
	return err
}

// Close ends the server, then its etcd.
func (s *Stock) Close() error {
	err := s.End(StopBound)
	s.endEtcd(10 * time.Second)
	return err
}

func stockFlags(dir string, port int) []string {
	pki := dir + "/pki/"
	return []string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + pki + "apiserver.crt", "--tls-private-key-file=" + pki + "apiserver.key",
		"--client-ca-file=" + pki + "ca.crt",
		"--service-account-key-file=" + pki + "sa.crt", "--service-account-signing-key-file=" + pki + "sa.key",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--kubelet-client-certificate=" + pki + "kubelet-client.crt", "--kubelet-client-key=" + pki + "kubelet-client.key",
		"--requestheader-client-ca-file=" + pki + "front-proxy-ca.crt",
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + pki + "front-proxy-client.crt", "--proxy-client-key-file=" + pki + "front-proxy-client.key",
		"--authorization-mode=Node,RBAC", "--enable-bootstrap-token-auth=true", "--allow-privileged=true",
	}
}

// writeStockPKI writes the same files as the supervisor does, by the same kind
// of keys, and the administrator's kubeconfig.
func writeStockPKI(dir, url string) error {
	ca, err := NewCA("kubernetes")
	if err != nil {
		return err
	}
	proxyCA, err := NewCA("front-proxy-ca")
	if err != nil {
		return err
	}
	hosts := []string{"127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1"}
	pairs := map[string]*Pair{"ca": ca, "front-proxy-ca": proxyCA}
	for _, want := range []struct {
		name string
		by   *Pair
		leaf Leaf
	}{
		{"apiserver", ca, Leaf{CommonName: "kube-apiserver", Hosts: hosts, Usage: serverUsage}},
		{"kubelet-client", ca, Leaf{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"kubeadm:cluster-admins"}, Usage: clientUsage}},
		{"front-proxy-client", proxyCA, Leaf{CommonName: "front-proxy-client", Usage: clientUsage}},
		{"sa", ca, Leaf{CommonName: "sa"}},
		{"admin", ca, Leaf{CommonName: "kubernetes-admin", Organization: []string{"system:masters"}, Usage: clientUsage}},
	} {
		if pairs[want.name], err = want.by.Issue(want.leaf); err != nil {
			return err
		}
	}
	for name, pair := range pairs {
		if err := pair.Write(dir + "/pki/" + name); err != nil {
			return err
		}
	}
	return writeKubeconfig(dir+"/admin.kubeconfig", url, ca, pairs["admin"])
}

func writeKubeconfig(path, url string, ca, who *Pair) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["stock"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: ca.CertPEM()}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: who.CertPEM(), ClientKeyData: who.KeyPEM()}
	config.Contexts["admin"] = &clientcmdapi.Context{Cluster: "stock", AuthInfo: "admin"}
	config.CurrentContext = "admin"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return err
	}
	return os.Chmod(path, 0o600)
}
