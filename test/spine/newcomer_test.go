package spine

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// One command, and kubectl works.
func TestNewcomerRunsOneCommand(t *testing.T) {
	c := harness.Shared(t)

	status, code, err := c.Status()
	if err != nil || code != 0 || status.Phase != "Ready" {
		t.Fatalf("status exits with %d, %v: %v", code, err, status)
	}
	printed := c.Output.String()
	for _, want := range []string{status.SecureURL, c.Kubeconfig} {
		if !strings.Contains(printed, want) {
			t.Errorf("the supervisor does not print %q:\n%s", want, printed)
		}
	}
	for _, tier := range []string{"aggregator", "core", "extensions"} {
		for _, stage := range []string{"configured", "constructed", "prepared", "ready"} {
			if !slices.ContainsFunc(lines(printed), func(line string) bool {
				return strings.Contains(line, tier) && strings.Contains(line, stage)
			}) {
				t.Errorf("no line says that %s is %s:\n%s", tier, stage, printed)
			}
		}
	}
	if out := c.Kubectl(t, "get", "namespaces", "-o", "name"); !strings.Contains(out, "namespace/kube-system") {
		t.Errorf("kubectl get namespaces prints %q", out)
	}
}

func TestStatusDescribesEveryProcess(t *testing.T) {
	c := harness.Shared(t)
	status, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, tier := range []string{"aggregator", "core", "extensions"} {
		r := status.Replica(tier)
		args := harness.ArgsOf(r.PID)
		if len(args) == 0 || filepath.Base(args[0]) != tier {
			t.Errorf("%s: process %d is %v", tier, r.PID, args)
		}
		if r.Stage != "ready" || r.Restarts != 0 || r.RSSBytes < 10<<20 || r.StartedAt.Before(c.Started) || r.Address == "" {
			t.Errorf("%s: %+v", tier, r)
		}
	}
	if !status.Etcd.Embedded || !harness.Alive(status.Etcd.PID) {
		t.Errorf("etcd: %+v", status.Etcd)
	}
	if len(status.Tiers) != 3 || !strings.HasPrefix(status.SecureURL, "https://") || status.InsecureURL != "" {
		t.Errorf("status: %+v", status)
	}
}

func TestVersionSaysWhoWeAre(t *testing.T) {
	c := harness.Shared(t)
	var version struct{ Major, Minor, GitVersion, GitCommit, GitTreeState, BuildDate string }
	c.Get(t, "/version").Into(t, &version)
	if version.Major != "1" || version.Minor != "37" || !strings.HasPrefix(version.GitVersion, "v1.37.2+triptych.") ||
		len(version.GitCommit) != 40 || version.GitTreeState == "" || strings.HasPrefix(version.BuildDate, "1970") {
		t.Errorf("/version says %+v", version)
	}
	if stdout, _, code := harness.Command(t.Context(), harness.Bin("supervisor"), "version"); code != 0 ||
		!strings.Contains(stdout, strings.TrimPrefix(version.GitVersion, "v1.37.2+triptych.")) {
		t.Errorf("supervisor version exits with %d and prints %q", code, stdout)
	}
}

func TestDataDirectoryHasTheFilesOfKubeadm(t *testing.T) {
	c := harness.Shared(t)
	for _, name := range []string{
		"admin.kubeconfig",
		"pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub", "pki/apiserver.crt", "pki/apiserver.key",
		"pki/front-proxy-ca.crt", "pki/front-proxy-ca.key", "pki/front-proxy-client.crt", "pki/front-proxy-client.key",
		"pki/apiserver-kubelet-client.crt", "pki/apiserver-kubelet-client.key",
		"pki/etcd/ca.crt", "pki/etcd/ca.key", "pki/etcd/server.crt", "pki/etcd/server.key",
		"pki/internal/ca.crt", "pki/internal/ca.key",
		"etcd/member", "run/control.sock", "run/lock",
		"log/core.log", "log/extensions.log", "log/aggregator.log", "log/etcd.log",
	} {
		if _, err := os.Stat(c.Path(name)); err != nil {
			t.Error(err)
		}
	}
}

// Nothing in the data directory is for others than its owner but certificates. Where tiers are users of their
// own they may pass the folders on the way to what they are handed, which nobody else can read.
func TestKeysAreTheOwnersAlone(t *testing.T) {
	c := harness.Shared(t)
	handed := map[string]bool{}
	for _, name := range []string{"etcd", "extensions", "core", "aggregator"} {
		handed[c.Path("run", name)] = true
	}
	checked := 0
	err := filepath.WalkDir(c.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode, most := info.Mode().Perm(), fs.FileMode(0o700)
		switch {
		case path == c.Dir || path == c.Path("run"):
			most = 0o711
		case handed[path] || handed[filepath.Dir(path)]:
			most = 0o750
		case !entry.IsDir() && !strings.HasSuffix(path, ".key") && !strings.HasSuffix(path, ".kubeconfig") && entry.Name() != "control.sock":
			return nil
		}
		checked++
		if mode&^most != 0 {
			t.Errorf("%s has mode %o, more than %o", path, mode, most)
		}
		return nil
	})
	if err != nil || checked < 10 {
		t.Errorf("checked %d files: %v", checked, err)
	}
}

// Each tier is told of the keys that it needs, and of no others.
func TestEachTierIsGivenOnlyItsOwnKeys(t *testing.T) {
	c := harness.Shared(t)
	status, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	mustNotHold := map[string][]string{
		"extensions": {"sa.key", "sa.pub", "apiserver-kubelet-client", "front-proxy-client", "apiserver.key", "ca.key"},
		"core":       {"front-proxy-client.key", "apiserver.key", "/ca.key"},
		"aggregator": {"sa.key", "apiserver-kubelet-client", "/ca.key"},
	}
	for tier, names := range mustNotHold {
		given := strings.Join(harness.ArgsOf(status.Replica(tier).PID), "\n")
		wiring := harness.Must(os.ReadFile(c.Path("run", tier+"-0.wiring.json")))(t)
		given += "\n" + string(wiring)
		if !strings.Contains(given, tier+"-serving.key") {
			t.Errorf("%s is not given a serving certificate:\n%s", tier, given)
		}
		for _, name := range names {
			if strings.Contains(given, name) {
				t.Errorf("%s is given %s", tier, name)
			}
		}
		for other := range mustNotHold {
			if other != tier && strings.Contains(given, other+"-serving.key") || strings.Contains(given, other+"-self.key") && other != tier {
				t.Errorf("%s is given keys of %s", tier, other)
			}
		}
	}
}

func TestKubectlCreatesADeployment(t *testing.T) {
	c := harness.Shared(t)
	c.Kubectl(t, "create", "namespace", "newcomer")
	c.Kubectl(t, "-n", "newcomer", "create", "deployment", "web", "--image=nginx", "--replicas=2")
	manifest := `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "applied"},
		"spec": {"selector": {"matchLabels": {"app": "applied"}}, "template":
		{"metadata": {"labels": {"app": "applied"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}}`
	c.KubectlInput(t, manifest, "-n", "newcomer", "apply", "-f", "-")
	c.KubectlInput(t, manifest, "-n", "newcomer", "apply", "--server-side", "--force-conflicts", "-f", "-")

	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Replicas int }
		}
	}
	if err := json.Unmarshal([]byte(c.Kubectl(t, "-n", "newcomer", "get", "deployments", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 2 || list.Items[0].Metadata.Name != "applied" || list.Items[1].Spec.Replicas != 2 {
		t.Errorf("deployments: %+v", list.Items)
	}
	if out := c.Kubectl(t, "-n", "newcomer", "get", "deployments"); !strings.Contains(out, "UP-TO-DATE") {
		t.Errorf("kubectl does not get a table: %s", out)
	}
	if _, err := c.TryKubectl(t, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"unknown":1}}`,
		"-n", "newcomer", "create", "-f", "-"); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("an unknown field is not refused: %v", err)
	}
}
