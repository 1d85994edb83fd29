package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"triptych.dev/triptych/test/harness"
)

const (
	// suiteProgram is upstream's tests, runnerProgram what runs several of them side by side
	// and those alone that are marked [Serial].
	suiteProgram  = "stock/e2e.test"
	runnerProgram = "stock/ginkgo"
	// suiteName starts what --focus is matched with.
	suiteName = "Kubernetes e2e suite"
	// suiteBound is several times what all names take one after the other.
	suiteBound = 50 * time.Minute
	reportFile = "report.json"
)

// runSuite runs the named tests against the API, procs side by side, and returns
// what ginkgo reports. What they print is kept in dir.
func runSuite(t *testing.T, api *harness.API, names []string, procs int, dir string) types.Report {
	t.Helper()
	args := []string{
		"run", fmt.Sprintf("--procs=%d", procs), "--timeout=" + suiteBound.String(),
		"--no-color", "--silence-skips", "--output-dir=" + dir, "--json-report=" + reportFile, "--junit-report=junit.xml",
	}
	for _, name := range names {
		args = append(args, "--focus=^"+regexp.QuoteMeta(suiteName+" "+name)+"$")
	}
	args = append(args, harness.Bin(suiteProgram), "--",
		"--kubeconfig="+api.Kubeconfig, "--kubectl-path="+harness.Bin("kubectl"), "--e2e-output-dir="+dir,
		// There is no cloud, and no node that could become ready.
		"--provider=skeleton", "--num-nodes=0", "--allowed-not-ready-nodes=-1", "--minStartupPods=-1", "--disable-log-dump")
	// kubectl keeps discovery of servers, by their port, in the home directory.
	home := "HOME=" + harness.TempDir(t)
	runner := harness.Must(harness.StartProcess(syscall.SIGTERM, []string{home}, harness.Bin(runnerProgram), args...))(t)
	// The runner stops its children at its own timeout; this is for one that hangs.
	_, err := runner.Wait(suiteBound + time.Minute)
	if err != nil {
		t.Error(err)
		syscall.Kill(-runner.PID(), syscall.SIGKILL)
	}
	harness.WriteFile(t, filepath.Join(dir, "ginkgo.log"), []byte(runner.Output.String()), 0o644)
	return readReport(t, filepath.Join(dir, reportFile), runner.Output)
}

func readReport(t *testing.T, path string, said *harness.Output) types.Report {
	t.Helper()
	content, err := os.ReadFile(path)
	var reports []types.Report
	if err == nil {
		err = json.Unmarshal(content, &reports)
	}
	if err == nil && len(reports) != 1 {
		err = fmt.Errorf("%d reports", len(reports))
	}
	if err != nil {
		t.Fatalf("the suite has not run: %v\n%s", err, said)
	}
	return reports[0]
}
