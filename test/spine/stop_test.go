package spine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// stopsInOrder reads from what the supervisor printed that each process was
// stopped after the one before it, and returns the sum of the printed budgets.
func stopsInOrder(t *testing.T, c *harness.Cluster) time.Duration {
	t.Helper()
	var order []string
	var total time.Duration
	begins := regexp.MustCompile(`^(\w+?)(?:-0)?: stopping within (\S+?)( |$)`)
	ends := regexp.MustCompile(`^(\w+?)(?:-0)?: stopped$`)
	for _, line := range c.Output.Lines() {
		if m := begins.FindStringSubmatch(line); m != nil {
			total += harness.Must(time.ParseDuration(m[2]))(t)
			order = append(order, m[1]+" begins")
		} else if m := ends.FindStringSubmatch(line); m != nil {
			order = append(order, m[1]+" ends")
		}
	}
	want := []string{"aggregator begins", "aggregator ends", "core begins", "core ends",
		"extensions begins", "extensions ends", "etcd begins", "etcd ends"}
	if !slices.Equal(order, want) {
		t.Errorf("the order is %v, want %v\n%s", order, want, c.Output)
	}
	return total
}

// The stop ends watches instead of waiting for them, keeps its word on how long
// it takes, and leaves nothing behind.
func TestStopEndsAThousandWatchesWithinItsBudget(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	const group = "stop.example.com"
	installCRD(t, &c.API, group)
	watches := openWatches(t, c.Config(t), 1000, "/api/v1/configmaps?watch=true", "/apis/"+group+"/v1/gadgets?watch=true",
		"/apis/apiregistration.k8s.io/v1/apiservices?watch=true")

	began := time.Now()
	c.Stop(t)
	took := time.Since(began)
	budget := stopsInOrder(t, c)
	t.Logf("stopped %d watches in %v, the budget is %v", watches.open.Load(), took.Round(time.Millisecond), budget)
	if took > budget || budget == 0 {
		t.Errorf("the stop took %v, more than the printed budget of %v", took, budget)
	}
	if took > time.Minute {
		t.Errorf("the stop took %v: it waited for watches", took)
	}
	watches.done.Wait()
	if strings.Contains(c.Output.String(), "killing") {
		t.Errorf("a process had to be killed:\n%s", c.Output)
	}
}

type openedWatches struct {
	open atomic.Int64
	done sync.WaitGroup
}

// openWatches opens n watches on the paths in turn and waits for the first
// bytes of each answer. They end with the server or with the test.
func openWatches(t *testing.T, config *rest.Config, n int, paths ...string) *openedWatches {
	t.Helper()
	client := harness.Must(rest.HTTPClientFor(config))(t)
	opened := &openedWatches{}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	failed := make(chan error, n)
	for i := range n {
		opened.done.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+paths[i%len(paths)], nil)
			if err != nil {
				failed <- err
				return
			}
			resp, err := client.Do(req)
			if err != nil {
				failed <- err
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				failed <- fmt.Errorf("a watch is answered %s", resp.Status)
				return
			}
			opened.open.Add(1)
			io.Copy(io.Discard, resp.Body)
		})
	}
	harness.Eventually(t, soon, fmt.Sprintf("%d watches are open", n), func() error {
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
		if open := opened.open.Load(); open < int64(n) {
			return fmt.Errorf("%d are open", open)
		}
		return nil
	})
	return opened
}

// A request that is being answered when the stop begins is answered.
func TestRequestInFlightFinishesBeforeTheStop(t *testing.T) {
	for name, resource := range map[string]struct{ group, path, kind string }{
		"core":            {"", "/api/v1/namespaces/default/configmaps", `"kind": "ConfigMap", "apiVersion": "v1"`},
		"custom resource": {"flight.example.com", gadgetsPath("flight.example.com"), `"kind": "Gadget", "apiVersion": "flight.example.com/v1"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := harness.Run(t, harness.Options{})
			installCRD(t, &c.API, "flight.example.com")
			hook := startWebhook(t)
			hook.install(t, c)

			answered := make(chan harness.Answer, 1)
			go func() {
				got, err := harness.Send(context.Background(), c.Config(t), http.MethodPost, resource.path,
					"{"+resource.kind+`, "metadata": {"name": "held"}}`, "Content-Type", "application/json")
				if err != nil {
					got.Body = []byte(err.Error())
				}
				answered <- got
			}()
			hook.await(t)
			c.Signal(syscall.SIGTERM)
			c.WaitStatus(t, soon, "phase Stopping", func(s harness.Status) bool { return s.Phase == "Stopping" })
			harness.Eventually(t, soon, "the head drains", func() error {
				s, _, err := c.Status()
				if err == nil && s.Replica("aggregator").Stage != "draining" {
					err = fmt.Errorf("%v", s)
				}
				return err
			})
			hook.release()
			if got := <-answered; got.Code != http.StatusCreated {
				t.Errorf("the request is answered %s", got)
			}
			if code, err := c.Wait(harness.StopBound); err != nil || code != 0 {
				t.Errorf("the stop ends with %d, %v", code, err)
			}
		})
	}
}

// webhook is an admission webhook that holds what it is asked about.
type webhook struct {
	server *httptest.Server
	ca     *harness.Pair
	asked  chan struct{}
	held   chan struct{}
}

func startWebhook(t *testing.T) *webhook {
	t.Helper()
	w := &webhook{ca: harness.Must(harness.NewCA("webhook"))(t), asked: make(chan struct{}, 10), held: make(chan struct{})}
	serving := harness.Must(w.ca.Issue(harness.Leaf{CommonName: "webhook", Hosts: []string{"127.0.0.1"}, Usage: serverAuth}))(t)
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(w.review))
	w.server.TLS = serverTLS(serving)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	return w
}

func (w *webhook) review(rw http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct {
			UID  string
			Name string
		}
	}
	json.NewDecoder(r.Body).Decode(&review)
	if review.Request.Name == "held" {
		w.asked <- struct{}{}
		<-w.held
	}
	rw.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(rw, `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": %q, "allowed": true}}`, review.Request.UID)
}

func (w *webhook) release() { close(w.held) }

func (w *webhook) await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	select {
	case <-w.asked:
	case <-ctx.Done():
		t.Fatal("the webhook is not asked")
	}
}

// install registers the webhook and waits until it is asked.
func (w *webhook) install(t *testing.T, c *harness.Cluster) {
	t.Helper()
	c.KubectlInput(t, fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: holds}
webhooks:
- name: holds.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 30
  clientConfig: {url: %q, caBundle: %s}
  rules: [{apiGroups: ["", "flight.example.com"], apiVersions: ["*"], operations: [CREATE], resources: [configmaps, gadgets]}]
`, w.server.URL, base64Of(w.ca.CertPEM())), "create", "-f", "-")
	for _, path := range []string{"/api/v1/namespaces/default/configmaps", gadgetsPath("flight.example.com")} {
		harness.Eventually(t, soon, "the webhook is asked about "+path, func() error { return w.asks(t, c, path) })
	}
}

// asks sends a dry run that the webhook holds, and takes its waiting for an
// answer as proof.
func (w *webhook) asks(t *testing.T, c *harness.Cluster, path string) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	kind := `"kind": "ConfigMap", "apiVersion": "v1"`
	if strings.Contains(path, "gadgets") {
		kind = `"kind": "Gadget", "apiVersion": "flight.example.com/v1"`
	}
	got, err := harness.Send(ctx, c.Config(t), http.MethodPost, path+"?dryRun=All", "{"+kind+`, "metadata": {"name": "held"}}`, "Content-Type", "application/json")
	select {
	case <-w.asked:
		return nil
	default:
		return fmt.Errorf("the webhook was not asked: %s %v", got, err)
	}
}

// Whoever asks twice is in a hurry.
func TestSecondSignalStopsFast(t *testing.T) {
	for _, signals := range [][]syscall.Signal{{syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGINT, syscall.SIGINT}} {
		t.Run(fmt.Sprint(signals[0]), func(t *testing.T) {
			// A delay that a graceful stop would have to wait for.
			c := harness.Run(t, harness.Options{Args: []string{"--shutdown-delay-duration=2m"}})
			c.Kubectl(t, "create", "configmap", "acknowledged")
			began := time.Now()
			c.Signal(signals[0])
			c.WaitStatus(t, soon, "phase Stopping", func(s harness.Status) bool { return s.Phase == "Stopping" })
			c.Signal(signals[1])
			code, err := c.Wait(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("a fast stop takes %v", took)
			}
			t.Logf("a fast stop takes %v and ends with %d", time.Since(began).Round(time.Millisecond), code)
			if err := c.GoneWithin(5 * time.Second); err != nil {
				t.Fatal(err)
			}
			again := harness.Run(t, harness.Options{Dir: c.Dir})
			if got := again.Get(t, "/api/v1/namespaces/default/configmaps/acknowledged"); got.Code != http.StatusOK {
				t.Errorf("an acknowledged write: %s", got)
			}
		})
	}
}

// Idle, a stop is a matter of seconds, and the kubernetes Service has no
// endpoint that nobody serves.
func TestIdleStopIsQuick(t *testing.T) {
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })
	c := harness.Run(t, harness.Options{Args: etcd.Flags()})
	other := harness.Run(t, harness.Options{Args: etcd.Flags()})
	endpoints := func() string {
		return other.Kubectl(t, "get", "endpointslices", "kubernetes", "-o", "jsonpath={.ports[0].port} {.endpoints[*].addresses[*]}")
	}
	harness.Eventually(t, soon, "the kubernetes Service has an endpoint", func() error {
		if got := endpoints(); !strings.Contains(got, ".") {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	began := time.Now()
	c.Stop(t)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("an idle stop takes %v", took)
	}
	t.Logf("an idle stop takes %v", time.Since(began).Round(time.Millisecond))
}
