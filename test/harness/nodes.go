package harness

import (
	"path/filepath"
	"testing"
)

// RunNodes starts kwok, which pretends to be the kubelet of every node: it keeps
// nodes alive by leases and does with their pods what the file of stages says.
// It ends with the test.
func RunNodes(t testing.TB, api *API, stages string) *Process {
	t.Helper()
	path := Must(filepath.Abs(stages))(t)
	return runBeside(t, "tools/kwok", "--kubeconfig="+api.Kubeconfig, "--config="+path, "--manage-all-nodes",
		"--node-ip=127.0.0.1", "--cidr=10.244.0.0/16", "--node-lease-duration-seconds=40")
}
