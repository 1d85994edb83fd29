package spine

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"triptych.dev/triptych/test/harness"
)

// rounds of exec through the tunnel and without one, in turns: the machine is never
// quite the same.
const rounds = 20

// costs says what the tunnel costs on this machine, where all of it is on one: a node at
// the loopback address is dialed without a tunnel. It judges nothing.
func (e *enclave) costs(t *testing.T) {
	e.kubelet.Host = "127.0.0.1"
	e.kubelet.RunPod(t, &e.cluster.API, "near")
	took := map[string][]time.Duration{}
	for range rounds {
		for _, pod := range []string{"far-0", "near"} {
			took[pod] = append(took[pod], e.exec(t, pod, 0, "true"))
		}
	}
	for pod, times := range took {
		slices.Sort(times)
		took[pod] = times[:rounds/2+1]
	}
	middle := func(pod string) time.Duration { return took[pod][rounds/2].Round(100 * time.Microsecond) }
	t.Logf("an exec takes %v through the tunnel and %v without, medians of %d", middle("far-0"), middle("near"), rounds)
	const size = 50_000_000
	load := func(pod string) time.Duration {
		return e.exec(t, pod, size, "head", "-c", fmt.Sprint(size), "/dev/zero").Round(time.Millisecond)
	}
	t.Logf("an exec that prints 50 MB takes %v through the tunnel and %v without", load("far-0"), load("near"))
	e.cluster.Kubectl(t, "delete", "node", "near")
}

// exec runs a command in the pod, reads the size in bytes that it prints, and returns
// how long that took.
func (e *enclave) exec(t *testing.T, pod string, size int64, command ...string) time.Duration {
	t.Helper()
	config := e.cluster.Config(t)
	query := url.Values{"command": command, "stdout": {"true"}}
	executor := harness.Must(remotecommand.NewWebSocketExecutor(config, http.MethodGet,
		config.Host+"/api/v1/namespaces/default/pods/"+pod+"/exec?"+query.Encode()))(t)
	out := &counted{}
	began := time.Now()
	if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: out}); err != nil || out.n != size {
		t.Fatalf("%s in %s: %d bytes, %v", command, pod, out.n, err)
	}
	return time.Since(began)
}

// counted takes and counts.
type counted struct{ n int64 }

var _ io.Writer = &counted{}

func (c *counted) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
