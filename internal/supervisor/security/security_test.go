package security

import (
	"os"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

func TestTheMatrixIsInTheDocument(t *testing.T) {
	content, err := os.ReadFile("../../../docs/explanation/security.md")
	if err != nil || !strings.Contains(string(content), Table()) {
		t.Errorf("docs/explanation/security.md has not the matrix of the code (%v): run make generate", err)
	}
}

func TestInDirectModeCoreIsTheSecurePort(t *testing.T) {
	for _, thing := range Things(tier.Core) {
		if thing.Name == "pki/apiserver.key" && !thing.Holds("core") {
			t.Error("core cannot serve clients")
		}
	}
}

func TestAProcessOfOursIsFullOfGaps(t *testing.T) {
	gaps := map[string]bool{}
	for _, row := range Inspect(Subject{Name: "core", Replica: "core-0", PID: os.Getpid(), Head: tier.Aggregator}) {
		gaps[row.What] = !row.OK
	}
	for _, what := range []string{"user", "no_new_privs", "system calls", "files", "mounts"} {
		if !gaps[what] {
			t.Errorf("no gap: %s", what)
		}
	}
}
