package spine

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// greedyCRD is a CRD whose schema takes extensions tens of MiB to look at.
func greedyCRD(name string) string {
	properties := make([]string, 8000)
	for i := range properties {
		properties[i] = fmt.Sprintf(`"property%d": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}`, i)
	}
	return smallCRD(name, strings.Join(properties, ","))
}

// smallCRD is one of greedy.example.com with the properties given, as JSON.
func smallCRD(name, properties string) string {
	return strings.NewReplacer("NAME", name, "PROPERTIES", properties).Replace(`{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
"metadata": {"name": "NAMEs.greedy.example.com"}, "spec": {"group": "greedy.example.com", "scope": "Namespaced", "names": {"plural": "NAMEs", "kind": "NAME"},
"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {PROPERTIES}}}}]}}`)
}

const crdsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

func postCRD(t *testing.T, api *harness.API, query, body string) harness.Answer {
	t.Helper()
	answer, _ := harness.Send(t.Context(), api.Config(t), http.MethodPost, crdsPath+query, body, "Content-Type", "application/json")
	return answer // the zero one if extensions died meanwhile
}

// Who makes extensions take more memory than it may has it killed, and nobody else
// feels that.
func TestOnlyExtensionsDiesOfItsMemoryLimit(t *testing.T) {
	c := harness.Run(t, harness.Options{Args: []string{"--memory-limit=extensions=128Mi"}})
	path := createGadget(t, &c.API, installCRD(t, &c.API, "kept.example.com").Group, "one")
	before := c.WaitReady(t)
	if by := before.Replica("extensions").MemoryLimitBy; !strings.Contains(by, "supervisor") {
		t.Errorf("the limit is held by %q", by)
	}
	load := harness.MustLoad(t, c.Config(t), 2, []string{"/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default/deployments"}, harness.IsOK)

	var wait sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		body := greedyCRD(fmt.Sprintf("greedy%d", i))
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					postCRD(t, &c.API, "?dryRun=All", body)
				}
			}
		})
	}
	_, err := c.AwaitStatus(time.Minute, "extensions is killed", func(s harness.Status) bool {
		return strings.Contains(string(s.Replica("extensions").LastExit), "it passed its memory limit of 128 MiB")
	})
	close(stop)
	wait.Wait()
	if err != nil {
		t.Fatal(err)
	}
	after := c.WaitReady(t)
	served(t, &c.API, path)
	for tier, pid := range after.PIDs() {
		if (pid == before.PIDs()[tier]) == (tier == "extensions") {
			t.Errorf("%s was %d and is %d", tier, before.PIDs()[tier], pid)
		}
	}
	if report := load.Stop(); len(report.Failures) > 0 || report.OK() == 0 {
		t.Errorf("core answered %d requests, and failed %d, first %s", report.OK(), len(report.Failures), report.Failures[0])
	}
}

// While many CRDs change, the kernel gives the CPU to the other tiers first; otherwise
// custom resources are served like all others.
func TestExtensionsLeavesTheCPUToOthersWhileManyCRDsChange(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	extensions := c.WaitReady(t).Replica("extensions")
	usual := mustRank(t, extensions)
	for i := range 15 {
		if answer := postCRD(t, &c.API, "", smallCRD(fmt.Sprintf("small%d", i), "")); answer.Code != http.StatusCreated {
			t.Fatal(answer)
		}
	}
	rank := func(what string, fine func(now int) bool) {
		harness.Eventually(t, 30*time.Second, what, func() error {
			if now := mustRank(t, extensions); !fine(now) {
				return fmt.Errorf("it has %d, and had %d, by %s", now, usual, extensions.CPU)
			}
			return nil
		})
	}
	rank("it has less of the CPU", func(now int) bool { return now < usual })
	if extensions.CPU == "cgroup" || os.Geteuid() == 0 { // others cannot take a nice value back
		rank("it has as much as before", func(now int) bool { return now == usual })
	}
}

// A process gets no more of the CPU than its limit: the kernel has it wait already while it starts. Where
// none can be held to a limit, the supervisor says so.
func TestAProcessIsHeldToItsLimitOfTheCPU(t *testing.T) {
	t.Parallel()
	c := harness.Run(t, harness.Options{Args: []string{"--cpu-limit=extensions=200m"}})
	extensions := c.WaitReady(t).Replica("extensions")
	if extensions.CPULimitMillis == 0 {
		if err := c.Output.Contains("warning: --cpu-limit has no effect"); err != nil {
			t.Error(err)
		}
		return
	}
	if stdout, stderr, _ := c.Supervisor(t.Context(), "status", "-o", "wide"); extensions.CPULimitMillis != 200 || !strings.Contains(stdout, "200m") {
		t.Errorf("the limit is %dm, and status shows %s%s", extensions.CPULimitMillis, stdout, stderr)
	}
	// On a machine with much else to do even a start takes less than that.
	admin := c.API.Config(t)
	harness.Eventually(t, time.Minute, "it has to wait for its CPU", func() error {
		stat, err := groupFile(extensions.PID, "cpu.stat", "cpu.stat")
		if err != nil {
			return err
		}
		_, throttled, _ := strings.Cut(stat, "nr_throttled ")
		if times, err := strconv.Atoi(strings.Fields(throttled + " none")[0]); err != nil || times == 0 {
			var burst sync.WaitGroup
			for range 50 {
				burst.Go(func() { harness.Send(t.Context(), admin, http.MethodGet, crdsPath, "") })
			}
			burst.Wait()
			return fmt.Errorf("nobody had it wait: %v in %s", err, stat)
		}
		return nil
	})
}

// mustRank is what the kernel goes by: the weight of the process' cgroup, or how far it is from
// being nice.
func mustRank(t *testing.T, r harness.ReplicaStatus) int {
	t.Helper()
	rank, err := rankOf(r)
	if err != nil {
		t.Fatal(err)
	}
	return rank
}

func rankOf(r harness.ReplicaStatus) (int, error) {
	switch r.CPU {
	case "nice":
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		nice, err := strconv.Atoi(fields[16])
		return -nice, err
	case "cgroup":
		weight, err := groupFile(r.PID, "cpu.shares", "cpu.weight")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(weight))
	}
	return 0, fmt.Errorf("it yields by %q", r.CPU)
}

// groupFile reads a file of the process' own cgroup for the CPU, which has a name in each version.
func groupFile(pid int, version1, version2 string) (string, error) {
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	// The file is below one of these, wherever version 1 mounts its controllers.
	for line := range strings.Lines(string(cgroups)) {
		own := strings.TrimSpace(line[strings.LastIndexByte(line, ':')+1:])
		for _, pattern := range []string{"/sys/fs/cgroup/cpu*" + own + "/" + version1, "/sys/fs/cgroup" + own + "/" + version2} {
			if files, _ := filepath.Glob(pattern); len(files) > 0 && strings.Contains(own, "triptych-") {
				content, err := os.ReadFile(files[0])
				return string(content), err
			}
		}
	}
	return "", errors.New("its cgroup is nowhere")
}

// A page of a program is in memory once for all processes that run it from the same file.
func TestTiersRunOneFileAndGoByTheirNames(t *testing.T) {
	c := harness.Shared(t)
	var first os.FileInfo
	status, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	for name, pid := range status.PIDs() {
		proc := fmt.Sprintf("/proc/%d/", pid)
		file := harness.Must(os.Stat(proc + "exe"))(t)
		if first == nil {
			first = file
		}
		if !os.SameFile(first, file) {
			t.Errorf("%s runs a file of its own, %s", name, harness.Must(os.Readlink(proc+"exe"))(t))
		}
		if comm := strings.TrimSpace(string(harness.Must(os.ReadFile(proc + "comm"))(t))); comm != name {
			t.Errorf("the kernel calls %s %q", name, comm)
		}
	}
}

// Go's default is all CPUs for each process, and their idle threads keep one another from working.
func TestTheHeadLeavesHalfOfTheCPUsToWhoAnswers(t *testing.T) {
	all := runtime.GOMAXPROCS(0)
	half := (all + 1) / 2
	if os.Getenv("GOMAXPROCS") != "" {
		half = all // it is for all processes
	}
	metrics := string(harness.Shared(t).Get(t, "/metrics").Body)
	for name, want := range map[string]int{"aggregator": half, "core": all, "extensions": all} {
		if line := fmt.Sprintf("go_sched_gomaxprocs_threads{tier=%q} %d\n", name, want); !strings.Contains(metrics, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}
