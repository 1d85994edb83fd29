package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/datadir"
)

func TestTheSSHKeyIsMadeBeforeTheFirstStartAndPrintedThen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	line, stderr, code := execute(t, "ssh-key", "--data-dir", dir)
	if code != ExitOK || !strings.HasPrefix(line, `restrict,port-forwarding,command="false" ssh-ed25519 `) || strings.Count(line, "\n") != 1 {
		t.Fatalf("exit code %d, %q, %s", code, line, stderr)
	}
	// A supervisor that runs is not in the way.
	running, err := datadir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if again, _, code := execute(t, "ssh-key", "--data-dir", dir); code != ExitOK || again != line {
		t.Errorf("exit code %d, another key: %q", code, again)
	}
	if err := os.Remove(filepath.Join(dir, "pki", "ssh.key")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := execute(t, "ssh-key", "--data-dir", dir); code != ExitFailure || !strings.Contains(stderr, "--ssh-user") {
		t.Errorf("no key of a supervisor that runs: exit code %d, %s", code, stderr)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(foreign+"/precious", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := execute(t, "ssh-key", "--data-dir", foreign); code != ExitConfiguration || !strings.HasPrefix(stderr, "error: ") {
		t.Errorf("somebody else's directory: exit code %d, %s", code, stderr)
	}
}
