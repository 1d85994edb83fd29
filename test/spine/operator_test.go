package spine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// tool runs a command that prints JSON, and demands its exit code.
func tool(t *testing.T, c *harness.Cluster, want int, into any, args ...string) {
	t.Helper()
	stdout, stderr, code := c.Supervisor(t.Context(), append(args, "-o", "json")...)
	if code != want {
		t.Errorf("%v exits with %d, want %d: %s%s", args, code, want, stdout, stderr)
		return
	}
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		t.Errorf("%v: %v in %s", args, err, stdout)
	}
}

// finding is one of doctor and why.
type finding struct{ Check, Level, Says, Remedy string }

// finds demands a problem that says text and has a remedy.
func finds(t *testing.T, all []finding, check, text string) {
	t.Helper()
	for _, f := range all {
		if f.Check == check && f.Level == "problem" && strings.Contains(f.Says, text) && f.Remedy != "" {
			return
		}
	}
	t.Errorf("no problem of %s with %q and a remedy in %+v", check, text, all)
}

// What is wrong is found, with what to do about it, and who serves a request is told by real ones.
func TestOperatorsFindOutWhatIsWrong(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	c.KubectlInput(t, crdNamed("widgets", "trace.example.org"), "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=condition=Established", "crd/widgets.trace.example.org")
	c.KubectlInput(t, `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.away.example.org"},
"spec":{"group":"away.example.org","version":"v1","groupPriorityMinimum":1,"versionPriority":1,"insecureSkipTLSVerify":true,
"service":{"namespace":"default","name":"nobody"}}}`, "apply", "-f", "-")
	c.Kubectl(t, "create", "namespace", "stuck")
	c.KubectlInput(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"held","namespace":"stuck","finalizers":["example.org/forgotten"]}}`, "apply", "-f", "-")

	t.Run("trace", func(t *testing.T) {
		for path, want := range map[string]struct{ tier, rule string }{
			"/api/v1/namespaces?limit=1":                              {"core", "/api is core's"},
			"/apis/apps/v1/deployments":                               {"core", "no CRD can take"},
			"/apis/trace.example.org/v1/widgets":                      {"extensions", "announces"},
			"/apis/apiextensions.k8s.io/v1/customresourcedefinitions": {"extensions", "announces"},
			"/apis/apiregistration.k8s.io/v1/apiservices":             {"aggregator", "APIServices"},
			"/version": {"aggregator", "outside"},
			"/apis":    {"aggregator", "merged"},
		} {
			var got struct {
				Tier, Rule string
				Hops       []struct {
					Process          string
					Code             int
					Seconds          float64
					FirstByteSeconds float64
				}
			}
			tool(t, c, 0, &got, "trace", path)
			hops := 2
			if want.tier == "aggregator" {
				hops = 1
			}
			if got.Tier != want.tier || !strings.Contains(got.Rule, want.rule) || len(got.Hops) != hops {
				t.Errorf("%s: %+v, want %+v", path, got, want)
			}
			for _, h := range got.Hops {
				if h.Code != 200 || h.Seconds <= 0 || h.FirstByteSeconds <= 0 {
					t.Errorf("%s: %+v", path, h)
				}
			}
		}
		var behind struct{ Tier, Behind string }
		tool(t, c, 0, &behind, "trace", "/apis/away.example.org/v1/things")
		if behind.Tier != "aggregator" || behind.Behind != "default/nobody" {
			t.Errorf("%+v", behind)
		}
		if _, stderr, code := c.Supervisor(t.Context(), "trace", "/api/v1/pods?watch=true"); code != exitConfiguration || !strings.Contains(stderr, "no end") {
			t.Errorf("a watch is traced: exit code %d: %s", code, stderr)
		}
	})
	t.Run("why", func(t *testing.T) {
		var all []finding
		tool(t, c, 0, &all, "why", "apiservice", "v1.apps")
		tool(t, c, 0, &all, "why", "namespace", "stuck")
		tool(t, c, 1, &all, "why", "apiservice", "v1.away.example.org")
		finds(t, all, "service", "default/nobody")
		c.Kubectl(t, "delete", "apiservice", "v1.away.example.org")
		c.Kubectl(t, "delete", "namespace", "stuck", "--wait=false")
		tool(t, c, 1, &all, "why", "namespace", "stuck")
		finds(t, all, "namespace", "it is to go")
		finds(t, all, "configmaps", "example.org/forgotten")
		c.Kubectl(t, "-n", "stuck", "patch", "configmap", "held", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		c.Kubectl(t, "-n", "stuck", "delete", "configmaps,serviceaccounts", "--all")
		all = nil
		tool(t, c, 1, &all, "why", "namespace", "stuck")
		finds(t, all, "controller", "nobody has taken the lease")
		if _, stderr, code := c.Supervisor(t.Context(), "why", "namespace", "nothing"); code != 1 || !strings.Contains(stderr, "there is no namespace") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})
	t.Run("doctor", func(t *testing.T) {
		var all []finding
		tool(t, c, 0, &all, "doctor", "--bin-dir", harness.BinDir())
		if len(all) < 10 {
			t.Errorf("%+v", all)
		}
		key := c.Path("pki", "sa.key")
		if err := os.Chmod(key, 0o644); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(key, 0o600)
		tool(t, c, 1, &all, "doctor", "--bin-dir", harness.BinDir())
		finds(t, all, "modes", key)
	})
	t.Run("health", func(t *testing.T) {
		var is struct{ Ready bool }
		if tool(t, c, 0, &is, "health", "--wait"); !is.Ready {
			t.Error("it is not ready")
		}
	})
	t.Run("logs and events", func(t *testing.T) {
		if out, stderr, code := c.Supervisor(t.Context(), "logs", "--tier", "core,extensions"); code != 0 || !strings.Contains(out, "core-0       | ") || !strings.Contains(out, "extensions-0 | ") {
			t.Errorf("logs exits with %d: %s%s", code, firstLines(out, 5), stderr)
		}
		var events []struct{ Process, To string }
		tool(t, c, 0, &events, "events", "--tier", "core")
		if len(events) < 4 || events[0].Process != "core-0" || events[0].To != "starting" {
			t.Errorf("%+v", events)
		}
	})
}

func crdNamed(plural, group string) string {
	return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"` + plural + `.` + group + `"},
"spec":{"group":"` + group + `","scope":"Namespaced","names":{"plural":"` + plural + `","kind":"Widget"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`
}

// A machine is what it was before, but for settings and data.
func TestInstallIntoARootAndUninstall(t *testing.T) {
	root, from := harness.TempDir(t), harness.TempDir(t)
	for _, name := range []string{"supervisor", "core", "extensions", "aggregator"} {
		harness.WriteFile(t, filepath.Join(from, name), []byte("#!/bin/sh\n"), 0o755)
	}
	run := func(want int, args ...string) map[string]string {
		t.Helper()
		stdout, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), append(args, "--root", root, "-o", "json")...)
		if code != want {
			t.Fatalf("%v exits with %d: %s%s", args, code, stdout, stderr)
		}
		var steps []struct{ Path, Action string }
		if err := json.Unmarshal([]byte(stdout), &steps); err != nil {
			t.Fatalf("%v: %v in %s", args, err, stdout)
		}
		did := map[string]string{}
		for _, s := range steps {
			did[s.Path] = s.Action
		}
		return did
	}
	const unit, page, program = "/etc/systemd/system/triptych.service", "/usr/local/share/man/man8/supervisor-run.8", "/usr/local/lib/triptych/core"
	first := run(0, "install", "--from", from)
	for _, path := range []string{unit, page, program, "/var/lib/triptych", "/etc/default/triptych", "/usr/local/share/bash-completion/completions/supervisor"} {
		if _, err := os.Stat(root + path); err != nil || first[path] != "made" {
			t.Errorf("%s: %q, %v", path, first[path], err)
		}
	}
	for path, action := range run(0, "install", "--from", from) {
		if action != "unchanged" {
			t.Errorf("%s, installed again: %s", path, action)
		}
	}
	// What was installed is a configuration that works.
	if stdout, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "config", "validate", "--config", root+"/etc/triptych/supervisor.yaml"); code != 0 {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	harness.WriteFile(t, root+"/var/lib/triptych/triptych.yaml", []byte("format: 1\n"), 0o600)
	if did := run(0, "uninstall"); did[unit] != "removed" || did[program] != "removed" || did["/var/lib/triptych"] != "kept" {
		t.Errorf("%v", did)
	}
	if did := run(0, "uninstall", "--purge"); did[unit] != "absent" || did["/var/lib/triptych"] != "removed" {
		t.Errorf("%v", did)
	}
}
