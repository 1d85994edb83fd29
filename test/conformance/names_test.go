package conformance

import (
	"slices"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// What the CI runs must stay a fair sample of what is promised.
func TestCIRunsAllButTheSlow(t *testing.T) {
	ci := harness.Must(choose("ci", ""))(t)
	for _, name := range slowNames {
		if !slices.Contains(allNames, name) {
			t.Errorf("slow.txt has a name that names.txt has not: %s", name)
		}
	}
	if len(ci) != len(allNames)-len(slowNames) || len(ci)*10 < len(allNames)*9 {
		t.Errorf("the CI runs %d of %d names, want all but the slow and nine in ten", len(ci), len(allNames))
	}
}

// A list that is sorted shows in a diff what is new, and has nothing twice.
func TestNamesAreSorted(t *testing.T) {
	for file, names := range map[string][]string{"names.txt": allNames, "slow.txt": slowNames} {
		for i := 1; i < len(names); i++ {
			if names[i-1] >= names[i] {
				t.Errorf("%s: %q must come before %q, once", file, names[i], names[i-1])
			}
		}
	}
}

func TestChooseRefusesWhatMatchesNothing(t *testing.T) {
	for _, wrong := range []struct{ set, focus string }{{"some", ""}, {"all", "("}, {"all", "no such test"}} {
		if names, err := choose(wrong.set, wrong.focus); err == nil {
			t.Errorf("%+v chooses %d names", wrong, len(names))
		}
	}
	if names, err := choose("all", "TokenReview"); err != nil || len(names) != 1 {
		t.Errorf("got %q, %v", names, err)
	}
}

// The CI does not run the slow ones; that upstream has renamed or demoted one of
// them is seen here.
func TestEveryNameIsUpstreams(t *testing.T) {
	said, errs, code := harness.Command(t.Context(), harness.Bin(suiteProgram), "--list-tests")
	if code != 0 {
		t.Fatalf("%s --list-tests exits with %d: %s", suiteProgram, code, errs)
	}
	known := map[string]bool{}
	for line := range strings.Lines(said) {
		// file:line: name
		if _, name, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			known[name] = true
		}
	}
	for _, name := range allNames {
		if !known[name] || !strings.Contains(name, "[Conformance]") {
			t.Errorf("upstream has no conformance test of this name: %s", name)
		}
	}
}
