package spine

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// What was acknowledged is there after the next start, and so are the CA, the
// address and the credentials.
func TestDataIsKeptOverARestart(t *testing.T) {
	t.Parallel() // it waits more than it works
	const group = "kept.example.com"
	port := harness.Must(harness.FreePort())(t)
	options := harness.Options{Dir: harness.TempDir(t), Args: []string{fmt.Sprintf("--secure-port=%d", port)}}

	c := harness.Run(t, options)
	installCRD(t, &c.API, group)
	gadgetPath := createGadget(t, &c.API, group, "one")
	c.Kubectl(t, "create", "configmap", "kept", "--from-literal=key=value")
	ca := harness.Must(os.ReadFile(c.Path("pki", "ca.crt")))(t)
	uid := c.Kubectl(t, "get", "configmap", "kept", "-o", "jsonpath={.metadata.uid}")
	c.Stop(t)

	again := harness.Run(t, options)
	if got := again.Kubectl(t, "get", "configmap", "kept", "-o", "jsonpath={.metadata.uid} {.data.key}"); got != uid+" value" {
		t.Errorf("the ConfigMap is %q, was %q", got, uid)
	}
	if got := again.Get(t, gadgetPath); got.Code != 200 {
		t.Errorf("the custom resource: %s", got)
	}
	if now := harness.Must(os.ReadFile(again.Path("pki", "ca.crt")))(t); string(now) != string(ca) {
		t.Error("the CA has changed")
	}
	if url := again.URL(t); !strings.HasSuffix(url, fmt.Sprintf(":%d", port)) {
		t.Errorf("the kubeconfig points at %s", url)
	}
}

// With an etcd of one's own there is none of ours, and everything lies there
// under the keys of a stock server.
func TestExternalEtcd(t *testing.T) {
	t.Parallel() // it waits more than it works
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })

	c := harness.Run(t, harness.Options{Args: etcd.Flags()})
	status, _, err := c.Status()
	if err != nil || status.Etcd.Embedded || status.Etcd.PID != 0 {
		t.Errorf("status of etcd: %+v %v", status.Etcd, err)
	}
	const group = "external.example.com"
	installCRD(t, &c.API, group)
	createGadget(t, &c.API, group, "one")
	c.Kubectl(t, "create", "configmap", "kept", "--from-literal=key=value")
	if _, err := os.Stat(c.Path("etcd", "member")); err == nil {
		t.Error("there is an etcd of the supervisor's own")
	}
	c.Stop(t)
	if !harness.Alive(etcd.PID()) {
		t.Fatal("the external etcd has been stopped")
	}

	// Another supervisor finds it all.
	other := harness.Run(t, harness.Options{Args: etcd.Flags()})
	if got := other.Kubectl(t, "get", "configmap", "kept", "-o", "jsonpath={.data.key}"); got != "value" {
		t.Errorf("the ConfigMap says %q", got)
	}
	if got := other.Get(t, gadgetsPath(group)+"/one"); got.Code != 200 {
		t.Errorf("the custom resource: %s", got)
	}
}
