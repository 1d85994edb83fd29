package layout

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// The bugs that are planted to see tests fail can still be planted.
func TestPlantsApply(t *testing.T) {
	plants, err := filepath.Glob("../faults/plants/*.patch")
	if err != nil || len(plants) < 8 {
		t.Fatalf("%d plants: %v", len(plants), err)
	}
	for _, plant := range plants {
		cmd := exec.CommandContext(t.Context(), "git", "apply", "--check", "test/faults/plants/"+filepath.Base(plant))
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", plant, err, out)
		}
	}
}
