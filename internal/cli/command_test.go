package cli

import (
	"bytes"
	"strings"
	"testing"
)

// execute runs a command line in this process.
func execute(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), code
}

// TestHelpFitsAScreen: 50 lines of at most 120 characters.
func TestHelpFitsAScreen(t *testing.T) {
	for _, command := range []string{"", "run", "status", "stop", "restart", "logs", "kubeconfig", "ssh-key", "version", "completion", "etcd move-extensions", "config", "config default", "config validate", "config show", "config diff", "config explain", "reload", "install", "uninstall", "doctor", "health", "drain", "events", "trace", "why", "why namespace", "why apiservice"} {
		out, _, code := execute(t, strings.Fields(command+" --help")...)
		lines := strings.Split(out, "\n")
		if code != ExitOK || len(lines) > 50 {
			t.Errorf("%s: exit code %d, %d lines", command, code, len(lines))
		}
		for _, line := range lines {
			if len(line) > 120 {
				t.Errorf("%s: a line of %d characters: %s", command, len(line), line)
			}
		}
	}
}

func TestTheEtcdChildIsHidden(t *testing.T) {
	if out, _, _ := execute(t, "--help"); strings.Contains(out, "embedded etcd") {
		t.Error(out)
	}
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct {
		args, says string
	}{
		{"sttus", "unknown command"},
		{"status extra", "extra"},
		{"status --data-dir=/nonexistent", "/nonexistent"},
		{"status --dat-dir=/nonexistent", "did you mean --data-dir?"},
		{"restart", "want one of aggregator, core, extensions, etcd"},
		{"restart scheduler", `unknown tier "scheduler"`},
		{"logs scheduler", `unknown tier "scheduler"`},
		{"version -o xml", "xml"},
		{"stop --timeout=soon", "--timeout"},
		{"etcd move-extensions", "want one of --to-servers and --to-main"},
		{"etcd move-extensions --to-main --to-servers=http://h:1", "want one of --to-servers and --to-main"},
		{"etcd move-extensions --to-servers=nowhere", `--to-servers: "nowhere" is no URL`},
		{"etcd move-extensions --to-main --to-cafile=/dev/null", "give its --to-servers too"},
	} {
		_, stderr, code := execute(t, strings.Fields(c.args)...)
		if code != ExitConfiguration || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit code %d, %s", c.args, code, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	plain, _, code := execute(t, "version")
	if code != ExitOK || !strings.HasPrefix(plain, "v1.") {
		t.Errorf("exit code %d, %q", code, plain)
	}
	asJSON, _, _ := execute(t, "version", "-o", "json")
	if !strings.Contains(asJSON, `"gitVersion": "`+strings.TrimSpace(plain)+`"`) {
		t.Error(asJSON)
	}
}

func TestCompletionKnowsTheTiers(t *testing.T) {
	out, _, code := execute(t, "__complete", "restart", "")
	if code != ExitOK || !strings.Contains(out, "aggregator\ncore\nextensions\n") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, _, code = execute(t, "completion", "bash"); code != ExitOK || !strings.Contains(out, "complete") {
		t.Errorf("exit code %d", code)
	}
}
