package spine

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/test/harness"
)

const (
	byOperator = "stopped by operator"
)

// An operator takes a tier out and in again: it stays away, nobody is told that something does not exist, and the
// others go on as the processes they are.
func TestATierIsStoppedUntilItIsStarted(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{})
	const group = "held.example.com"
	installCRD(t, &c.API, group)
	paths := map[string]string{
		"core": "/api/v1/namespaces", "extensions": gadgetsPath(group), "aggregator": "/apis/apiregistration.k8s.io/v1/apiservices",
	}
	for _, held := range []string{"core", "extensions"} {
		t.Run(held, func(t *testing.T) {
			before := c.WaitReady(t)
			var others []string
			for tier, path := range paths {
				if tier != held {
					others = append(others, path)
				}
			}
			away := harness.MustLoad(t, c.Config(t), 2, []string{paths[held]}, func(answer harness.Answer, err error) bool {
				// Custom resources that have just come back are answered so by stock, too.
				warming := err == nil && answer.Code == http.StatusTooManyRequests && answer.Header.Get("Retry-After") != ""
				return warming || orUnavailable(answer, err)
			})
			fine := harness.MustLoad(t, c.Config(t), 2, others, harness.IsOK)
			var did []struct {
				Name, Stage string
				Changed     bool
			}
			tool(t, c, 0, &did, "stop", held)
			if len(did) != 1 || did[0].Stage != byOperator || !did[0].Changed {
				t.Errorf("%+v", did)
			}
			tool(t, c, 0, &did, "stop", held)
			if len(did) != 1 || did[0].Changed {
				t.Errorf("stopped again: %+v", did)
			}
			if syscall.Kill(before.Replica(held).PID, 0) == nil {
				t.Errorf("process %d of %s goes on", before.Replica(held).PID, held)
			}
			now, code, err := c.Status()
			if err != nil || code != exitDegraded || now.Replica(held).Stage != byOperator || now.Replica(held).PID != 0 {
				t.Errorf("exit code %d, %s, %v", code, now, err)
			}
			if len(now.Reasons) != 1 || !strings.Contains(now.Reasons[0], held+" is "+byOperator+": supervisor start "+held) {
				t.Errorf("the phase is %s because of %q", now.Phase, now.Reasons)
			}
			// It is away for longer than a crash would be answered for.
			for seen := away.Answered(); away.Answered() < seen+200; {
				if answer := c.Get(t, paths[held]); answer.Code != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
					t.Errorf("%s answers %s", paths[held], answer)
				}
			}
			if now, _, _ := c.Status(); now.Replica(held).Restarts != before.Replica(held).Restarts {
				t.Errorf("%s was started again: %s", held, now)
			}
			tool(t, c, 0, &did, "start", held)
			if len(did) != 1 || did[0].Stage != "ready" || !did[0].Changed {
				t.Errorf("%+v", did)
			}
			after := c.WaitReady(t)
			served(t, &c.API, paths[held])
			for name, load := range map[string]*harness.Load{held: away, "others": fine} {
				if r := load.Stop(); r.OK() == 0 || len(r.Failures) > 0 {
					t.Errorf("%s: answers %v, unexpected are %s", name, r.Codes, firstLines(strings.Join(r.Failures, "\n"), 10))
				}
			}
			for name, pid := range before.PIDs() {
				if (after.PIDs()[name] == pid) != (name != held) {
					t.Errorf("%s was process %d, and is %d", name, pid, after.PIDs()[name])
				}
			}
			var events []struct{ Process, To, Reason string }
			tool(t, c, 0, &events, "events", "--tier", held)
			told := false
			for _, e := range events {
				told = told || e.To == "stopping" && e.Reason == byOperator
			}
			if !told {
				t.Errorf("no event tells why: %+v", events)
			}
		})
	}
	t.Run("aggregator", func(t *testing.T) {
		if _, stderr, code := c.Supervisor(t.Context(), "stop", "aggregator"); code != 0 {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		if answer, err := harness.Send(t.Context(), c.Config(t), http.MethodGet, "/version", ""); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("a stopped head: %s, %v", answer, err)
		}
		if _, stderr, code := c.Supervisor(t.Context(), "start", "aggregator"); code != 0 {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		served(t, &c.API, "/version")
	})
	t.Run("nonsense", func(t *testing.T) {
		for _, wrong := range [][]string{{"stop", "etcd"}, {"start", "etcd"}, {"drain", "core"}, {"stop", "nobody"}, {"start"}, {"stop", "core", "--now"}} {
			if out, stderr, code := c.Supervisor(t.Context(), wrong...); code != exitConfiguration {
				t.Errorf("%v: exit code %d: %s%s", wrong, code, out, stderr)
			}
		}
	})
	t.Run("a new start of the supervisor starts everything", func(t *testing.T) {
		if _, stderr, code := c.Supervisor(t.Context(), "stop", "extensions"); code != 0 {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		c.Stop(t)
		harness.Run(t, harness.Options{Dir: c.Dir}).WaitReady(t)
	})
}
