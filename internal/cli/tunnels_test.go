package cli_test

import (
	"os"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/cli"
	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/tier"
)

func TestStatusShowsTheTunnelsOfCore(t *testing.T) {
	known := t.TempDir() + "/known"
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i := install(t)
	s := i.run("--ssh-user=ops", "--ssh-known-hosts="+known)
	show := func(tunnels int64, want, line string) {
		t.Helper()
		i.behave(tier.Core, behavior{Tunnels: tunnels})
		if r := s.do("restart", "core"); r.code != cli.ExitOK {
			t.Fatal(r.stderr)
		}
		got := "none"
		if shown := replicaOf(s.ready(), tier.Core).Tunnels; shown != nil {
			got = shown.Problem
			if *shown == (control.Tunnels{Up: 3, Down: 1, SyncAgeSeconds: 12.3}) {
				got = "3"
			}
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("JSON shows %s, want %s", got, want)
		}
		if text := s.do("status").stdout; strings.Contains(text, "SSH:") != (line != "") || !strings.Contains(text, line) {
			t.Errorf("the text is\n%s", text)
		}
	}
	s.ready()
	show(3, "3", "SSH:   tunnels to nodes: 3 up, 0 connecting, 1 down; synced with the nodes 12 s ago\n")
	show(-1, "core does not say", "SSH:   core does not say how its tunnels stand: ")
	show(0, "none", "") // as a core that is too old to say
}
