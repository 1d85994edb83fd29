package spine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// connected counts the connections at a listening unix socket, by the kernel's own list.
func connected(t *testing.T, path string) (n int) {
	t.Helper()
	const established = "03"
	for line := range strings.Lines(string(harness.Must(os.ReadFile("/proc/net/unix"))(t))) {
		if f := strings.Fields(line); len(f) == 8 && f[7] == path && f[5] == established {
			n++
		}
	}
	return n
}

// With --hop-transport=unix requests go from tier to tier by sockets of the data directory,
// and still do when a tier has another process.
func TestHopsGoByUnixSockets(t *testing.T) {
	t.Parallel()
	c := harness.Run(t, harness.Options{Args: []string{"--hop-transport=unix"}})
	path := createGadget(t, &c.API, installCRD(t, &c.API, "sockets.example.com").Group, "one")
	for _, replica := range []string{"core-0", "extensions-0"} {
		if connected(t, c.Path("run", replica+".sock")) == 0 {
			t.Errorf("nobody calls %s by its socket", replica)
		}
	}
	if _, stderr, code := c.Supervisor(t.Context(), "scale", "core=2", "extensions=2"); code != 0 {
		t.Fatal(stderr)
	}
	if _, stderr, code := c.Supervisor(t.Context(), "restart", "core"); code != 0 {
		t.Fatal(stderr)
	}
	served(t, &c.API, path)
	n := 0
	for _, replica := range []string{"core-0", "core-1", "core-2"} {
		n += connected(t, c.Path("run", replica+".sock"))
	}
	if n == 0 {
		t.Error("nobody calls core by a socket any more")
	}
	c.Stop(t)
	if left := harness.Must(filepath.Glob(c.Path("run", "*-?.sock")))(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
