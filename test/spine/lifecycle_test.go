package spine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const lifecycleGroup = "lifecycle.example.com"

// mortal is an API server that is to be stopped.
type mortal struct {
	*harness.API
	process *harness.Process
	hook    *harness.Webhook
}

// lifecycleFlags leave time to look at each phase of a stop.
var lifecycleFlags = []string{
	"--shutdown-delay-duration=3s", "--shutdown-send-retry-after=true", "--shutdown-watch-termination-grace-period=2s",
	"--goaway-chance=0.02", "--request-timeout=9s",
}

// What the flags about a server's life say comes true as in stock: how many
// connections are told to go, when requests are given up, and what clients see of
// a stop, from the endpoints of the kubernetes Service to the last watch.
func TestLifecycleLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	c, stock := harness.Run(t, harness.Options{Args: lifecycleFlags}), harness.RunStock(t, lifecycleFlags...)
	sides := map[string]*mortal{"ours": {API: &c.API, process: c.Process, hook: harness.StartWebhook(t)}, "stock": {API: &stock.API, process: stock.Process, hook: harness.StartWebhook(t)}}
	both := func(what string, tell func(m *mortal) any) {
		t.Helper()
		told := map[string]any{}
		for side, m := range sides {
			told[side] = tell(m)
		}
		t.Logf("%s: %v", what, told["stock"])
		if diff := cmp.Diff(told["stock"], told["ours"]); diff != "" {
			t.Errorf("%s (- stock, + ours)\n%s", what, diff)
		}
	}
	for _, m := range sides {
		installCRD(t, m.API, lifecycleGroup)
		m.hold(t)
	}
	both("told to go", func(m *mortal) any { return m.toldToGo(t) })
	// A profile lasts as long as is asked for.
	profiled := make(chan error, 2)
	for _, of := range []string{"", "/debug/tiers/core"} {
		go func() {
			answer, err := harness.Send(t.Context(), c.Config(t), http.MethodGet, of+"/debug/pprof/profile?seconds=10", "")
			if err == nil && answer.Code != http.StatusOK {
				err = fmt.Errorf("the profile of %q is %s", of, answer)
			}
			profiled <- err
		}()
	}
	both("given up", func(m *mortal) any { return m.givenUp(t) })
	if err := errors.Join(<-profiled, <-profiled); err != nil {
		t.Error(err)
	}
	both("stop", func(m *mortal) any { return m.stop(t) })
}

// hold installs a webhook that answers no question: about objects named
// "patient" for 7 s, which then are admitted, and about those named "stuck" for
// longer than any request may last.
func (m *mortal) hold(t *testing.T) {
	t.Helper()
	one := func(name, rest string) string {
		return fmt.Sprintf(`- name: %s.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {url: "%s/%s/hang", caBundle: %s}
  matchConditions: [{name: name, expression: "object.metadata.name.endsWith('%s')"}]
  %s
  rules: [{apiGroups: ["", %s, apiregistration.k8s.io], apiVersions: ["*"], operations: [CREATE], resources: [configmaps, gadgets, apiservices]}]
`, name, m.hook.URL, name, m.hook.Bundle(), name, rest, lifecycleGroup)
	}
	m.KubectlInput(t, "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: lifecycle}\nwebhooks:\n"+
		one("patient", "timeoutSeconds: 7")+one("stuck", "timeoutSeconds: 30"), "create", "-f", "-")
	for _, path := range slices.Sorted(lifecyclePaths) {
		harness.Eventually(t, soon, "the webhook is asked about "+path, func() error {
			if got, _ := m.create(t, path+"?dryRun=All&timeout=1s", "stuck"); got.Code == http.StatusCreated {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
}

// lifecyclePaths are collections of each tier.
func lifecyclePaths(yield func(string) bool) {
	for _, path := range []string{"/api/v1/namespaces/default/configmaps", gadgetsPath(lifecycleGroup), "/apis/apiregistration.k8s.io/v1/apiservices"} {
		if !yield(path) {
			return
		}
	}
}

// create sends one object, and once more if the server breaks off: it does when it
// begins to answer in the moment in which it gives up. It tells how long the last
// attempt took.
func (m *mortal) create(t *testing.T, path, name string) (harness.Answer, time.Duration) {
	t.Helper()
	body := `{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "` + name + `"}}`
	switch {
	case strings.Contains(path, "gadgets"):
		body = `{"kind": "Gadget", "apiVersion": "` + lifecycleGroup + `/v1", "metadata": {"name": "` + name + `"}}`
	case strings.Contains(path, "apiservices"):
		body = `{"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": "v1.` + name + `"}, ` +
			`"spec": {"group": "` + name + `", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}}`
	}
	for attempt := 1; ; attempt++ {
		began := time.Now()
		answer, err := harness.Send(t.Context(), m.Config(t), http.MethodPost, path, body, "Content-Type", "application/json")
		if attempt < 3 && err != nil && strings.Contains(err.Error(), "INTERNAL_ERROR") {
			continue
		}
		return harness.Must(answer, err)(t), time.Since(began)
	}
}

// toldToGo sends many requests over HTTP/2, and tells whether that took more than
// one connection. None may fail.
func (m *mortal) toldToGo(t *testing.T) any {
	config := m.Config(t)
	var dialed atomic.Int64
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	client := harness.Must(rest.HTTPClientFor(config))(t)
	for i := range 900 {
		path := []string{"/version", "/api/v1/namespaces/default", gadgetsPath(lifecycleGroup)}[i%3]
		answer, err := harness.Do(client, harness.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+path, nil))(t))
		if err != nil || answer.Code != http.StatusOK {
			t.Fatalf("request %d: %s %v", i, answer, err)
		}
	}
	t.Logf("900 requests take %d connections", dialed.Load())
	return dialed.Load() > 1
}

// givenUp tells of requests that take too long, by the client's word and by the
// server's.
func (m *mortal) givenUp(t *testing.T) any {
	said := map[string]string{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for path := range lifecyclePaths {
		for _, query := range []string{"?timeout=1s", "?timeout=x", "?timeout=-1s", ""} {
			wait.Go(func() {
				got, took := m.create(t, path+query, "stuck")
				took = took.Round(5 * time.Second) // 0 for at once and 1 s, 10 s for 9
				mu.Lock()
				defer mu.Unlock()
				said[path+query] = fmt.Sprintf("%s after about %s, retry after %q", told(got, nil), took, got.Header.Get("Retry-After"))
			})
		}
	}
	wait.Wait()
	return said
}

// stop tells what clients see of the stop, phase by phase.
func (m *mortal) stop(t *testing.T) any {
	seen := map[string]any{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for path := range lifecyclePaths {
		resp, _ := watchBody(t, m.API, true, path+"?watch=true")
		wait.Go(func() {
			_, err := io.Copy(io.Discard, resp.Body)
			mu.Lock()
			defer mu.Unlock()
			seen["watch of "+path] = fmt.Sprint(err)
		})
	}
	m.hook.Forget()
	wait.Go(func() {
		got, _ := m.create(t, "/api/v1/namespaces/default/configmaps", "patient")
		mu.Lock()
		defer mu.Unlock()
		seen["in flight"] = got.Code
	})
	harness.Eventually(t, soon, "the request is in flight", func() error {
		if len(m.hook.Asked()) == 0 {
			return errors.New("the webhook was not asked")
		}
		return nil
	})
	m.process.Signal(syscall.SIGTERM)
	var phases []string
	harness.Eventually(t, soon, "nobody answers", func() error {
		phase := m.phase(t, m.Config(t))
		if phase == "" {
			return nil
		}
		if len(phases) == 0 || phases[len(phases)-1] != phase {
			phases = append(phases, phase)
		}
		return errors.New(phase)
	})
	code, err := m.process.Wait(soon)
	wait.Wait()
	seen["phases"], seen["exit"] = phases, fmt.Sprint(code, err)
	return seen
}

// phase is what a new client is told; nothing once there is no answer.
func (m *mortal) phase(t *testing.T, config *rest.Config) string {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	answer, err := harness.Send(ctx, config, http.MethodGet, "/api/v1/namespaces/default/endpoints/kubernetes", "")
	if err != nil {
		return ""
	}
	if answer.Code != http.StatusOK {
		return fmt.Sprintf("%s, connection %q", told(answer, nil), answer.Header.Get("Connection"))
	}
	var endpoints corev1.Endpoints
	answer.Into(t, &endpoints)
	readyz, err := harness.Send(ctx, config, http.MethodGet, "/readyz", "")
	if len(endpoints.Subsets) > 0 || readyz.Code == http.StatusOK {
		return "served, and in the kubernetes Service" // or about to leave: our head is told a moment later
	}
	return fmt.Sprintf("served, not in the kubernetes Service, readyz %d %v", readyz.Code, err)
}
