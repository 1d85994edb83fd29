package clients

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// helm installs, upgrades, rolls back and removes a chart with a CRD, an object
// of it, a Deployment, and a Job that runs before each upgrade.
func helm(t *testing.T, w *world) {
	h := &helmClient{w: w, home: t.TempDir()}
	const ns = "helm"
	h.run(t, "install", "cellar", "testdata/chart", "--namespace", ns, "--create-namespace", "--wait", "--timeout", patience.String())
	w.field(t, ns, "vessel/cellar", ".spec.size", "1")
	w.field(t, ns, "deployment/cellar", ".status.readyReplicas", "1")
	h.run(t, "upgrade", "cellar", "testdata/chart", "--namespace", ns, "--set", "size=2", "--wait", "--timeout", patience.String())
	w.field(t, ns, "vessel/cellar", ".spec.size", "2")
	w.field(t, ns, "deployment/cellar", ".status.readyReplicas", "2")
	if out, err := h.try(t, "upgrade", "cellar", "testdata/chart", "--namespace", ns, "--set", "size=-1"); err == nil {
		t.Errorf("an upgrade to what the schema of the CRD forbids: %s", out)
	}
	w.field(t, ns, "vessel/cellar", ".spec.size", "2")
	h.run(t, "rollback", "cellar", "1", "--namespace", ns, "--wait", "--timeout", patience.String())
	w.field(t, ns, "vessel/cellar", ".spec.size", "1")
	w.field(t, ns, "deployment/cellar", ".status.replicas", "1")
	if got := h.run(t, "list", "--namespace", ns); !strings.Contains(got, "deployed") {
		t.Errorf("helm list prints %s", got)
	}
	h.run(t, "uninstall", "cellar", "--namespace", ns, "--wait", "--timeout", patience.String())
	if left := w.Kubectl(t, "-n", ns, "get", "vessels,deployments,services", "-o", "name"); left != "" {
		t.Errorf("helm has left %s", left)
	}
	w.Kubectl(t, "get", "crd", "vessels.helm."+group)
}

// helmClient is bin/tools/helm with a home of its own.
type helmClient struct {
	w    *world
	home string
}

func (h *helmClient) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Bin("tools/helm"), append(args, "--kubeconfig", h.w.Kubeconfig)...)
	cmd.Env = []string{"HOME=" + h.home, "XDG_CACHE_HOME=" + filepath.Join(h.home, "cache"), "PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (h *helmClient) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.try(t, args...)
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}
