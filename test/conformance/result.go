package conformance

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// result is what a server made of the names.
type result struct {
	server string
	passed int
	// failed says of each name that has not passed, and of the suite as such, why.
	failed []failure
	took   time.Duration
}

type failure struct{ name, why string }

// judge holds a report against the names: each must have run and passed. A name
// that matches no test is not in the report, or is there as skipped.
func judge(server string, names []string, report types.Report) result {
	r := result{server: server, took: report.RunTime}
	ran := map[string]types.SpecReport{}
	for _, spec := range report.SpecReports {
		switch name := spec.FullText(); {
		case spec.LeafNodeType == types.NodeTypeIt:
			ran[name] = spec
		case spec.Failed():
			r.failed = append(r.failed, failure{fmt.Sprintf("%s of the suite", spec.LeafNodeType), spec.Failure.Message})
		}
	}
	for _, name := range names {
		if spec := ran[name]; spec.State.Is(types.SpecStatePassed) {
			r.passed++
		} else {
			r.failed = append(r.failed, failure{name, whyNot(spec)})
		}
	}
	for _, reason := range report.SpecialSuiteFailureReasons {
		r.failed = append(r.failed, failure{"the suite", reason})
	}
	return r
}

func whyNot(spec types.SpecReport) string {
	switch {
	case spec.LeafNodeText == "":
		return "upstream has no test of this name"
	case spec.Failure.Message == "":
		return "did not run: " + spec.State.String()
	}
	return fmt.Sprintf("%s: %s\n%s", spec.State, spec.Failure.Message, spec.Failure.Location)
}

// String is for failures of a test: one line each and the reason below.
func (f failure) String() string {
	return f.name + "\n\t" + strings.ReplaceAll(strings.TrimSpace(f.why), "\n", "\n\t")
}

// printTable prints a line a server.
func printTable(w io.Writer, results []result) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "server\tpassed\tfailed\tseconds\t")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%d\t%d\t%.0f\t\n", r.server, r.passed, len(r.failed), r.took.Seconds())
	}
	table.Flush()
}
