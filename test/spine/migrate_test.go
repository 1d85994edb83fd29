package spine

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/test/harness"
)

// What a stock kube-apiserver has left is taken over and given back: objects, CRDs, resource
// versions, tokens, certificates and encryption at rest. A migration that is killed has changed nothing, or is
// done.
func TestStockIsMigratedAndBack(t *testing.T) {
	t.Parallel()
	encryption := harness.TempDir(t) + "/encryption.yaml"
	harness.WriteFile(t, encryption, (&sealed{}).encryptionConfig("secrets = aescbc/secrets identity", "gadgets."+keptGroup+" = secretbox/gadgets identity"), 0o600)
	store := harness.TempDir(t)
	e := harness.Must(harness.StartEtcd(store))(t)
	t.Cleanup(func() { e.End(soon) })
	k := harness.BeginStock(t, append(e.Flags(), "--encryption-provider-config="+encryption)...)
	if err := k.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	had := keep(t, &k.API)
	revision := resourceVersion(t, &k.API, "/api/v1/configmaps")
	pki, manifest := kubeadmLayout(t, k, encryption)
	c := &harness.Cluster{Dir: harness.TempDir(t)}
	from := []string{"migrate", "from-stock", "--etcd-data", store + "/data", "--pki", pki, "--manifest", manifest}
	if out, stderr, code := c.Supervisor(t.Context(), from...); code != exitFailure || !strings.Contains(stderr, "an etcd is running") {
		t.Errorf("from an etcd that runs: code %d\n%s%s", code, out, stderr)
	}
	k.Signal(syscall.SIGTERM)
	if err := k.End(harness.StopBound); err != nil {
		t.Error(err)
	}
	e.Signal(syscall.SIGKILL) // what is in its log alone counts, too
	e.End(soon)

	killedMigrations(t, c, from)
	refusedOverData(t, c, from)
	ours := harness.Run(t, harness.Options{Dir: c.Dir, Args: []string{"--config=" + c.Path("migrated", "supervisor.yaml")}})
	had.foundBy(t, &ours.API)
	// Clients take a version that is lower than one they know for the past.
	if now := resourceVersion(t, &ours.API, "/api/v1/configmaps"); harness.Must(strconv.Atoi(now))(t) < harness.Must(strconv.Atoi(revision))(t) {
		t.Errorf("resource version %s became %s", revision, now)
	}
	stored := ours.EtcdAs(t, "apiserver-etcd-client").Stored(t, "/registry/secrets/default/kept")
	if got := harness.Encoding(stored["/registry/secrets/default/kept"]); !strings.HasPrefix(got, "k8s:enc:aescbc") {
		t.Errorf("the secret is stored as %s", got)
	}
	served := harness.Must(harness.LoadPair(c.Path("pki", "apiserver.crt"), c.Path("pki", "apiserver.key")))(t)
	if err := served.Cert.VerifyHostname("lb.example.com"); err != nil {
		t.Error(err)
	}
	again := keepMore(t, &ours.API)
	ours.Stop(t)

	back := harness.TempDir(t) + "/stock"
	if out, stderr, code := c.Supervisor(t.Context(), "migrate", "to-stock", "--to", back); code != 0 {
		t.Fatalf("to-stock: code %d\n%s%s", code, out, stderr)
	}
	plain := harness.TempDir(t)
	if err := os.Symlink(filepath.Join(back, "etcd"), plain+"/data"); err != nil {
		t.Fatal(err)
	}
	of := harness.Must(harness.StartEtcd(plain))(t)
	t.Cleanup(func() { of.End(soon) })
	last := harness.BeginStock(t, append(of.Flags(), "--encryption-provider-config="+encryption,
		"--service-account-key-file="+back+"/pki/sa.pub", "--service-account-signing-key-file="+back+"/pki/sa.key")...)
	if err := last.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	again.foundBy(t, &last.API)
}

// kubeadmLayout are keys and the manifest of a stock server as kubeadm would have made them.
func kubeadmLayout(t *testing.T, k *harness.Stock, encryption string) (pki, manifest string) {
	t.Helper()
	pki, manifest = harness.TempDir(t), harness.TempDir(t)+"/kube-apiserver.yaml"
	for _, name := range []string{"ca", "front-proxy-ca", "front-proxy-client"} {
		if err := harness.Must(harness.LoadPair(k.Dir+"/pki/"+name+".crt", k.Dir+"/pki/"+name+".key"))(t).Write(pki + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	ca := harness.Must(harness.LoadPair(pki+"/ca.crt", pki+"/ca.key"))(t)
	serving := harness.Must(ca.Issue(harness.Leaf{CommonName: "kube-apiserver", Hosts: []string{"lb.example.com", "10.96.0.1"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))(t)
	if err := serving.Write(pki + "/apiserver"); err != nil {
		t.Fatal(err)
	}
	sa := harness.Must(harness.LoadPair(k.Dir+"/pki/sa.crt", k.Dir+"/pki/sa.key"))(t)
	public := harness.Must(x509.MarshalPKIXPublicKey(sa.Key.Public()))(t)
	harness.WriteFile(t, pki+"/sa.key", sa.KeyPEM(), 0o600)
	harness.WriteFile(t, pki+"/sa.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": map[string]any{"containers": []any{map[string]any{
		"name": "kube-apiserver",
		"command": []string{
			"kube-apiserver", "--advertise-address=127.0.0.1", "--secure-port=6443", "--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + pki + "/etcd/ca.crt",
			"--client-ca-file=" + pki + "/ca.crt", "--tls-cert-file=" + pki + "/apiserver.crt", "--tls-private-key-file=" + pki + "/apiserver.key",
			"--service-account-key-file=" + pki + "/sa.pub", "--service-account-signing-key-file=" + pki + "/sa.key",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-cluster-ip-range=10.96.0.0/16",
			"--authorization-mode=Node,RBAC", "--encryption-provider-config=" + encryption,
		},
	}}}}
	harness.WriteFile(t, manifest, harness.Must(yaml.Marshal(pod))(t), 0o600)
	return pki, manifest
}

// killedMigrations kills migrations sooner and later, and ends with one that is done.
func killedMigrations(t *testing.T, c *harness.Cluster, from []string) {
	t.Helper()
	args := append(from, "--replace", "--data-dir", c.Dir)
	whole, killed := time.Duration(0), 0
	for i := range 5 {
		began := time.Now()
		p := harness.Must(harness.StartProcess(syscall.SIGKILL, nil, harness.Bin("supervisor"), args...))(t)
		if i == 0 { // how long a whole one takes
			if code, err := p.Wait(harness.StartBound); code != 0 {
				t.Fatalf("from-stock: code %d, %v: %s", code, err, p.Output)
			}
			whole = time.Since(began)
			continue
		}
		select {
		case <-p.Exited():
		case <-time.After(whole * time.Duration(i) / 5):
			killed++
			p.Signal(syscall.SIGKILL)
		}
		p.End(soon)
	}
	if out, stderr, code := c.Supervisor(t.Context(), append(from, "--replace")...); code != 0 {
		t.Fatalf("from-stock after those that were killed: code %d\n%s%s", code, out, stderr)
	}
	t.Logf("a migration takes %s; %d were killed", whole, killed)
}

// keepMore adds to what there is, and notes all of it.
func keepMore(t *testing.T, api *harness.API) *kept {
	t.Helper()
	api.Kubectl(t, "delete", "service", "another") // foundBy creates it
	api.Kubectl(t, "create", "configmap", "made-by-ours")
	createGadget(t, api, keptGroup, "made-by-ours")
	token := strings.TrimSpace(api.Kubectl(t, "create", "token", "kept", "--bound-object-kind=Secret", "--bound-object-name=kept"))
	return &kept{uids: allUIDs(t, api), token: token}
}

// refusedOverData demands that data is not replaced unasked.
func refusedOverData(t *testing.T, c *harness.Cluster, command []string) {
	t.Helper()
	if _, stderr, code := c.Supervisor(t.Context(), command...); code != exitConfiguration || !strings.Contains(stderr, "--replace") {
		t.Errorf("%v over data: code %d, %s", command[:2], code, fmt.Sprint(stderr))
	}
}
