package spine

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// exitDiffers is the code of docs/reference/exit-codes.md.
const exitDiffers = 3

var goMemoryLimit = regexp.MustCompile(`(?m)^go_gc_gomemlimit_bytes(?:\{[^}]*\})? (\S+)$`)

// softLimit is the size at which a tier collects garbage more often, as it says itself.
func softLimit(t *testing.T, c *harness.Cluster, tier string) int64 {
	t.Helper()
	found := goMemoryLimit.FindStringSubmatch(string(c.Get(t, "/debug/tiers/"+tier+"/metrics").Body))
	if found == nil {
		t.Fatalf("%s tells no limit", tier)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

// Nothing is restarted that need not be, no request fails, and what is left to be done is
// named.
func TestReloadChangesWhatItCanWhileAllGoesOn(t *testing.T) {
	file := harness.TempDir(t) + "/supervisor.yaml"
	configure := func(path, settings string) {
		content := "apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\n" + settings
		harness.WriteFile(t, path, []byte(content), 0o600)
	}
	configure(file, "memoryLimits: {extensions: 2Gi}\n")
	c := harness.Run(t, harness.Options{Args: []string{"--config", file}})
	before := c.WaitReady(t).PIDs()
	load := harness.MustLoad(t, c.Config(t), 2, []string{"/api/v1/namespaces", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"}, harness.IsOK)
	if err := os.Mkdir(file+".d", 0o700); err != nil {
		t.Fatal(err)
	}
	configure(file+".d/10-more.yaml", "replicas: {core: 2}\nmemoryLimits: {extensions: 1Gi}\ntierFlags: {core: {v: 3}}\n")
	out, stderr, code := c.Supervisor(t.Context(), "reload")
	if code != exitDiffers || !strings.Contains(out, "supervisor restart core") {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
	after := c.WaitReady(t)
	for name, pid := range after.PIDs() {
		if pid != before[name] {
			t.Errorf("%s was replaced: %d, was %d", name, pid, before[name])
		}
	}
	for _, tier := range after.Tiers {
		if tier.Name == "core" && len(tier.Replicas) != 2 {
			t.Errorf("%d replicas of core", len(tier.Replicas))
		}
	}
	if limit := softLimit(t, c, "extensions"); limit != 1<<30/10*9 {
		t.Errorf("garbage of extensions is collected more often from %d on", limit)
	}
	for _, command := range []string{"restart core", "config diff"} {
		if out, stderr, code := c.Supervisor(t.Context(), strings.Fields(command)...); code != 0 {
			t.Errorf("%s: exit code %d: %s%s", command, code, out, stderr)
		}
	}
	if r := load.Stop(); r.OK() == 0 || len(r.Failures) > 0 {
		t.Errorf("%+v", r)
	}
}
