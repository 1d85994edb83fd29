package deploy

import (
	"strings"
	"testing"

	"triptych.dev/triptych/internal/service"
	"triptych.dev/triptych/test/harness"
)

// What systemctl reload runs reads the configuration again and replaces no process; a mistake in it is a reload that
// has failed. The units of a machine, of `supervisor install` too, are these.
func TestAReloadOfTheUnitsReplacesNothing(t *testing.T) {
	file := harness.TempDir(t) + "/supervisor.yaml"
	configure := func(settings string) {
		harness.WriteFile(t, file, []byte("apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\n"+settings), 0o600)
	}
	configure("")
	c := harness.Run(t, harness.Options{Args: []string{"--config", file}})
	before := c.WaitReady(t).PIDs()
	root, programs := harness.TempDir(t), harness.BinDir()
	if out, err := command(t, harness.Bin("supervisor"), "install", "--root", root, "--from", programs); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for unit, data := range map[string]string{"triptych.service": "/var/lib/triptych", "triptych@.service": "/var/lib/triptych-%i"} {
		commands := setting(read(t, root+service.Units+"/"+unit), "ExecReload")
		if len(commands) != 1 {
			t.Fatalf("%s is reloaded by %q", unit, commands)
		}
		reload := func() (string, error) {
			args := strings.Fields(strings.NewReplacer(unitFolder, programs, data, c.Dir).Replace(commands[0]))
			return command(t, args[0], args[1:]...)
		}
		configure("memoryLimits: {extensions: 2Gi}\n")
		if out, err := reload(); err != nil {
			t.Errorf("%s: %v: %s", unit, err, out)
		}
		configure("memoryLimits: {nobody: 2Gi}\n")
		if out, err := reload(); err == nil || !strings.Contains(out, "nobody") {
			t.Errorf("%s, with a mistake: %v: %s", unit, err, out)
		}
	}
	now := c.WaitReady(t)
	for name, pid := range now.PIDs() {
		if pid != before[name] {
			t.Errorf("%s was process %d, and is %d", name, before[name], pid)
		}
	}
	if by := now.Replica("extensions").MemoryLimitBy; by == "" {
		t.Error("the limit of the configuration does not count")
	}
}
