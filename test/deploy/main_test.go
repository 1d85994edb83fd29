// Package deploy holds that what is in deploy/ works: the units of systemd, the examples
// for a virtual address, the Helm chart. What they are for is run where it can be: what the units
// and the pods start, the system calls that they allow, HAProxy.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m, "bin/tools/helm") }

// soon bounds what should take moments, on a machine that is busy.
const soon = time.Minute

// deployed is a file below deploy/.
func deployed(name ...string) string {
	return filepath.Join(append([]string{harness.Root(), "deploy"}, name...)...)
}

func read(t *testing.T, file string) string {
	t.Helper()
	return string(harness.Must(os.ReadFile(file))(t))
}

// installed returns the path of a program of a Debian package.
func installed(t *testing.T, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", program, debian)
	}
	return path
}

// command runs a program to its end and returns what it printed.
func command(t *testing.T, name string, args ...string) (out string, err error) {
	t.Helper()
	printed, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return string(printed), err
}
