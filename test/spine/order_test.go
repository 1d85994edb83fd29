package spine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
	"triptych.dev/triptych/test/harness"
)

// lonely is a process of a tier that was started by hand, without a supervisor,
// and whose delegate is not there.
type lonely struct {
	*harness.Process
	stages <-chan tier.Stage
	config wiring.Wiring
}

// startAlone starts another process of a tier with the flags of the one that
// runs, on ports of its own, and with a delegate where nobody listens.
func startAlone(t *testing.T, c *harness.Cluster, name tier.Name) *lonely {
	t.Helper()
	in := insideOf(t, c)
	file := c.Path("run", string(name)+"-0.wiring.json")
	config := *harness.Must(wiring.Load(file, name))(t)
	// It is somebody else than the supervisor's, and reads what the supervisor does.
	config.Lifeline, config.Replica, config.Sandbox = 0, string(name)+"-9", "off"
	free := func() string { return fmt.Sprintf("127.0.0.1:%d", harness.Must(harness.FreePort())(t)) }
	own := wiring.Endpoint{Replica: config.Replica, Hop: free(), Handshake: free()}
	config.Listen = wiring.Listen{Hop: wiring.Socket(own.Hop), Handshake: wiring.Socket(own.Handshake)}
	if name == tier.Aggregator {
		config.Listen.Public = wiring.Socket(free())
	}
	delegate, _ := name.Delegate()
	endpoints := map[tier.Name][]wiring.Endpoint{name: {own}, delegate: {{Replica: string(delegate) + "-0", Hop: free(), Handshake: free()}}}
	for other, at := range config.Tiers {
		if _, ok := endpoints[other]; !ok {
			endpoints[other] = at
		}
	}
	config.Tiers = endpoints
	path := harness.TempDir(t) + "/wiring.json"
	harness.WriteFile(t, path, harness.Must(json.Marshal(config))(t), 0o600)

	s, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--wiring=" + path}
	for _, arg := range harness.ArgsOf(s.Replica(string(name)).PID)[1:] {
		if !strings.HasPrefix(arg, "--wiring") {
			args = append(args, arg)
		}
	}
	l := &lonely{config: config}
	l.Process = harness.Must(harness.StartProcess(syscall.SIGKILL, nil, harness.Bin(string(name)), args...))(t)
	t.Cleanup(func() {
		l.Signal(syscall.SIGKILL)
		l.Wait(soon)
		if t.Failed() {
			t.Logf("%s alone printed:\n%s", name, firstLines(l.Output.String(), 60))
		}
	})
	l.stages = in.stagesOf(t.Context(), t, name, own.Handshake)
	return l
}

// await waits until the process says that it has reached a stage.
func (l *lonely) await(t *testing.T, want tier.Stage, bound time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for {
		select {
		case stage := <-l.stages:
			if stage == want {
				return
			}
		case <-l.Exited():
			t.Fatalf("it has exited:\n%s", l.Output)
		case <-ctx.Done():
			t.Fatalf("it is not %s", want)
		}
	}
}

// neverWithin expects that the process does not reach a stage for a while.
func (l *lonely) neverWithin(t *testing.T, unwanted tier.Stage, bound time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for {
		select {
		case stage := <-l.stages:
			if stage.AtLeast(unwanted) {
				t.Fatalf("it is %s without its delegate", stage)
			}
		case <-ctx.Done():
			return
		}
	}
}

// The head is built from core's paths: without core there is none, and nobody
// is served half of an API.
func TestHeadWaitsForCore(t *testing.T) {
	c := harness.Shared(t)
	head := startAlone(t, c, tier.Aggregator)
	head.await(t, tier.Configured, soon)
	head.neverWithin(t, tier.Constructed, 5*time.Second)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.TLS(t)}, Timeout: 2 * time.Second}
	if resp, err := client.Get("https://" + string(head.config.Listen.Public) + "/apis"); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a head without core answers %s", resp.Status)
		}
	}
}

// Core waits for extensions, and no longer than it should: a crash loop there
// must not block a restart here.
func TestCoreWaitsForExtensionsButNotForever(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Shared(t)
	core := startAlone(t, c, tier.Core)
	core.await(t, tier.Configured, soon)
	core.neverWithin(t, tier.Prepared, 2*time.Second)
	core.await(t, tier.Prepared, time.Minute)
}

// A tier that is given a wrong wiring says so and ends, for good.
func TestTierRefusesAWrongWiring(t *testing.T) {
	c := harness.Shared(t)
	for name, wrong := range map[string]struct{ path, content, want string }{
		"of another tier": {path: c.Path("run", "extensions-0.wiring.json"), want: "extensions"},
		"missing":         {path: "/nonexistent.json", want: "/nonexistent.json"},
		"not strict":      {content: `{"tier": "core", "nonsense": 1}`, want: "nonsense"},
		"incomplete":      {content: `{"tier": "core"}`, want: "replica"},
	} {
		t.Run(name, func(t *testing.T) {
			if wrong.path == "" {
				wrong.path = harness.TempDir(t) + "/wiring.json"
				harness.WriteFile(t, wrong.path, []byte(wrong.content), 0o600)
			}
			_, stderr, code := harness.Command(t.Context(), harness.Bin("core"), "--wiring="+wrong.path)
			if code != exitConfiguration || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, wrong.want) ||
				len(lines(stderr)) != 1 {
				t.Errorf("it ends with %d: %s", code, stderr)
			}
		})
	}
}
