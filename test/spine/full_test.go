package spine

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// With its quota reached etcd refuses writes, clients are told what stock tells
// them, and `supervisor status` and the log what to do. `supervisor etcd compact`
// has it take writes again, with nothing lost.
func TestFullEtcdIsToldAndMended(t *testing.T) {
	t.Parallel()
	c := harness.Run(t, harness.Options{Args: []string{"--etcd-quota-backend-bytes=8388608"}})
	c.Kubectl(t, "create", "configmap", "kept")
	const path = "/api/v1/namespaces/default/configmaps/kept"
	write := func(i int) harness.Answer {
		return request{"", http.MethodPut, path, bulky(`"name": "kept"`, i), nil}.send(t, &beside{API: &c.API})
	}
	acknowledged, last := 0, harness.Answer{}
	for last = write(1); last.Code == http.StatusOK && acknowledged < 200; last = write(acknowledged + 1) {
		acknowledged++
	}
	if last.Code != http.StatusInternalServerError || !strings.Contains(string(last.Body), "etcdserver: mvcc: database space exceeded") {
		t.Fatalf("with a full etcd: %s", last)
	}
	// etcd may have stored the write that it refused.
	stored := regexp.MustCompile(fmt.Sprintf(`"n":"(%d|%d)"`, acknowledged, acknowledged+1))
	kept := func() error {
		if got := c.Get(t, path); !stored.Match(got.Body) {
			return fmt.Errorf("want write %d: %.300s", acknowledged, got)
		}
		return nil
	}
	if err := kept(); err != nil {
		t.Error(err)
	}
	c.WaitStatus(t, soon, "the status tells it", func(s harness.Status) bool {
		return s.Phase == "Degraded" && strings.Contains(s.Etcd.Problem, "supervisor etcd compact")
	})
	stdout, _, code := c.Supervisor(t.Context(), "status")
	if code != exitDegraded || !strings.Contains(stdout, "writes are refused") {
		t.Errorf("status exits with %d: %s", code, stdout)
	}
	if err := c.Output.Contains("etcd: full, the database takes"); err != nil {
		t.Error(err)
	}

	stdout, stderr, code := c.Supervisor(t.Context(), "etcd", "compact")
	if code != 0 || !strings.Contains(stdout, "of 8.0 MiB now") {
		t.Errorf("compact exits with %d: %s%s", code, stdout, stderr)
	}
	if err := kept(); err != nil {
		t.Error(err)
	}
	if got := write(-1); got.Code != http.StatusOK {
		t.Errorf("after: %s", got)
	}
	s := c.WaitReady(t)
	if s.Etcd.Problem != "" {
		t.Errorf("the status still tells of %s", s.Etcd.Problem)
	}
	t.Logf("%d writes were taken", acknowledged)
}

// bulky is a ConfigMap that differs from all others by n.
func bulky(metadata string, n int) string {
	return fmt.Sprintf(`{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {%s}, "data": {"n": "%d", "a": %q}}`, metadata, n, strings.Repeat("x", 1<<18))
}

// An etcd that is full of what exists says so when it is compacted; it starts, can
// be read, and takes writes after a start with a larger quota.
func TestFullEtcdStartsAndTakesWritesWithALargerQuota(t *testing.T) {
	t.Parallel()
	options := harness.Options{Dir: harness.TempDir(t), Args: []string{"--etcd-quota-backend-bytes=8388608"}}
	c := harness.Run(t, options)
	n, stderr, code := 0, "", 0
	for round := 0; code == 0 && round < 5; round++ { // each leaves less history to compact
		create := request{"", http.MethodPost, "/api/v1/namespaces/default/configmaps", bulky(`"generateName": "more"`, n), nil}
		for create.send(t, &beside{API: &c.API}).Code == http.StatusCreated && n < 200 {
			n++
		}
		_, stderr, code = c.Supervisor(t.Context(), "etcd", "compact")
	}
	if code != exitFailure || !strings.Contains(stderr, "full still") {
		t.Errorf("compact exits with %d: %s", code, stderr)
	}
	c.Stop(t)

	c = harness.Begin(t, options)
	harness.Eventually(t, harness.StartBound, "what is there can be read", func() error {
		out, err := c.TryKubectl(t, "", "get", "configmaps", "-o", "name")
		// etcd may have stored what it said it did not.
		if got := strings.Count(out, "/more"); err == nil && got < n {
			err = fmt.Errorf("%d of %d objects", got, n)
		}
		return err
	})
	c.WaitStatus(t, soon, "everything runs, and the status tells what is wrong", func(s harness.Status) bool {
		return s.Phase == "Degraded" && s.Replica("aggregator").Stage == "ready" && s.Etcd.Problem != ""
	})
	c.Stop(t)

	options.Args = []string{"--etcd-quota-backend-bytes=33554432"}
	c = harness.Run(t, options)
	c.Kubectl(t, "create", "configmap", "written")
}
