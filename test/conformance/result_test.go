package conformance

import (
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

// spec is a test in a report.
func spec(name string, state types.SpecState, why string) types.SpecReport {
	return types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: name, State: state, Failure: types.Failure{Message: why}}
}

func TestOnlyWhatRanAndPassedCounts(t *testing.T) {
	names := []string{"passes", "fails", "skips itself", "is not there", "was left out"}
	r := judge("ours", names, types.Report{SpecReports: types.SpecReports{
		spec("passes", types.SpecStatePassed, ""),
		spec("fails", types.SpecStateFailed, "it is 404"),
		spec("skips itself", types.SpecStateSkipped, "no node"),
		spec("was left out", types.SpecStateSkipped, ""),
		spec("is nobody's", types.SpecStateSkipped, ""),
	}})
	if r.passed != 1 || len(r.failed) != 4 {
		t.Fatalf("%d passed, failed %v", r.passed, r.failed)
	}
	for i, want := range []string{"it is 404", "no node", "no test of this name", "did not run"} {
		if f := r.failed[i]; f.name != names[i+1] || !strings.Contains(f.why, want) {
			t.Errorf("%s because %q, want %s because %q", f.name, f.why, names[i+1], want)
		}
	}
}

// A suite that cannot be set up runs nothing, and its report names nobody.
func TestFailuresOfTheSuiteCount(t *testing.T) {
	setup := types.SpecReport{LeafNodeType: types.NodeTypeSynchronizedBeforeSuite, State: types.SpecStateFailed,
		Failure: types.Failure{Message: "no API"}}
	r := judge("ours", nil, types.Report{SpecialSuiteFailureReasons: []string{"interrupted"}, SpecReports: types.SpecReports{setup}})
	if len(r.failed) != 2 || r.failed[0].why != "no API" || r.failed[1].why != "interrupted" {
		t.Errorf("failed %v", r.failed)
	}
}

func TestTableHasALineAServer(t *testing.T) {
	var out strings.Builder
	printTable(&out, []result{{server: "ours", passed: 150, failed: make([]failure, 1), took: 90e9}, {server: "stock", passed: 151}})
	for _, want := range [][]string{{"ours", "150", "1", "90"}, {"stock", "151", "0", "0"}} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(want, " ")) {
			t.Errorf("%v is not in\n%s", want, &out)
		}
	}
}
