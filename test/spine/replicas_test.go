package spine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// replicas returns the names of the replicas of a tier.
func replicas(s harness.Status, tier string) []string {
	var names []string
	for _, t := range s.Tiers {
		if t.Name != tier {
			continue
		}
		for _, r := range t.Replicas {
			names = append(names, r.Name)
		}
	}
	return names
}

// journal is what one writer was told and one watcher saw of a ConfigMap.
type journal struct {
	client kubernetes.Interface
	name   string
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu       sync.Mutex
	written  []string // resource versions that were acknowledged
	seen     []string
	resumed  int
	failures []string
}

// openJournal writes again and again, each write once, and watches what comes of it. A watch
// that ends is resumed where it ended.
func openJournal(t *testing.T, config *rest.Config, name string) *journal {
	t.Helper()
	own := rest.CopyConfig(config)
	own.Dial = (&net.Dialer{}).DialContext
	j := &journal{client: harness.Must(kubernetes.NewForConfig(own))(t), name: name}
	first := harness.Must(j.client.CoreV1().ConfigMaps("default").Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	ctx, cancel := context.WithCancel(context.Background())
	j.cancel = cancel
	j.wait.Go(func() { j.write(ctx, first) })
	j.wait.Go(func() { j.watch(ctx, first.ResourceVersion) })
	t.Cleanup(func() { cancel(); j.wait.Wait() })
	return j
}

func (j *journal) note(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
}

func (j *journal) write(ctx context.Context, now *corev1.ConfigMap) {
	for n := 0; ctx.Err() == nil; n++ {
		next := now.DeepCopy()
		next.Data = map[string]string{"n": strconv.Itoa(n)}
		// Not by ctx: what is under way at the end is to be known of.
		after, err := j.client.CoreV1().ConfigMaps("default").Update(context.Background(), next, metav1.UpdateOptions{})
		if err != nil {
			j.note(func() { j.failures = append(j.failures, fmt.Sprintf("write %d: %v", n, err)) })
			return
		}
		j.note(func() { j.written = append(j.written, after.ResourceVersion) })
		now = after
	}
}

func (j *journal) watch(ctx context.Context, from string) {
	for ctx.Err() == nil {
		w, err := j.client.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{
			FieldSelector: "metadata.name=" + j.name, ResourceVersion: from,
		})
		if err != nil {
			if ctx.Err() == nil {
				j.note(func() { j.failures = append(j.failures, "watch: "+err.Error()) })
			}
			return
		}
		for event := range w.ResultChan() {
			object, ok := event.Object.(*corev1.ConfigMap)
			if ctx.Err() != nil {
				return
			}
			if !ok || event.Type != watch.Modified {
				j.note(func() { j.failures = append(j.failures, fmt.Sprintf("watch: %s %v", event.Type, event.Object)) })
				return
			}
			from = object.ResourceVersion
			j.note(func() { j.seen = append(j.seen, from) })
		}
		j.note(func() { j.resumed++ })
	}
}

// close ends the writes, waits until the watch has seen the last, and checks that
// nothing is missing, twice or out of order.
func (j *journal) close(t *testing.T) {
	t.Helper()
	harness.Eventually(t, soon, "the watch has seen all writes", func() error {
		j.mu.Lock()
		defer j.mu.Unlock()
		if len(j.failures) > 0 || len(j.written) > 50 && len(j.seen) >= len(j.written) {
			return nil
		}
		return fmt.Errorf("%d of %d", len(j.seen), len(j.written))
	})
	j.cancel()
	j.wait.Wait()
	t.Logf("%d writes, %d seen, the watch was resumed %d times", len(j.written), len(j.seen), j.resumed)
	if len(j.failures) > 0 {
		t.Errorf("%s", strings.Join(j.failures, "\n"))
	}
	// The last write may have come after the last look.
	if n := len(j.seen); n > len(j.written) || !slices.Equal(j.seen, j.written[:n]) || n < len(j.written)-5 {
		t.Errorf("%d writes were acknowledged, %d seen, or in another order", len(j.written), n)
	}
}

// Whoever adds, removes and replaces processes is not noticed: no request fails, no
// write is lost, no watch has a gap.
func TestChangingReplicasFailsNoRequest(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	const group = "replicas.example.com"
	installCRD(t, &c.API, group)
	c.Kubectl(t, "create", "configmap", "read", "--from-literal=key=value")
	paths := []string{
		"/api/v1/namespaces/default/configmaps/read", createGadget(t, &c.API, group, "one"),
		"/apis/apiregistration.k8s.io/v1/apiservices/v1.apps", "/apis/" + group + "/v1", "/version",
	}
	load := harness.MustLoad(t, c.Config(t), 6, paths, harness.IsOK)
	written := openJournal(t, c.Config(t), "written")
	do := func(args ...string) {
		t.Helper()
		if _, stderr, code := c.Supervisor(t.Context(), args...); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, stderr)
		}
	}
	do("restart", "core") // one replica of each
	do("restart", "extensions")
	do("restart", "aggregator")
	do("scale", "core=2", "extensions=2", "aggregator=2")
	s := c.WaitReady(t)
	for _, tier := range []string{"core", "extensions", "aggregator"} {
		if got := replicas(s, tier); len(got) != 2 {
			t.Errorf("%s has the replicas %v", tier, got)
		}
	}
	do("restart", "core")
	do("scale", "core=1", "extensions=1", "aggregator=1")
	written.close(t)
	report := load.Stop()
	if len(report.Failures) > 0 || report.OK() < 1000 {
		t.Errorf("%d were fine, %d failed:\n%s", report.OK(), len(report.Failures), firstLines(strings.Join(report.Failures, "\n"), 10))
	}
	t.Logf("%d reads", report.OK())
	// The endpoints were never withdrawn: the API has one address all the time.
	if got := c.Kubectl(t, "get", "endpointslices", "kubernetes", "-o", "jsonpath={.metadata.generation}"); got != "1" {
		t.Errorf("the endpoints of the kubernetes Service were changed %s times", got)
	}
}

// A replica that is killed takes no read along.
func TestTheDeathOfOneOfTwoReplicasFailsNoRead(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{Args: []string{"--replicas=core=2,extensions=2"}})
	const group = "deaths.example.com"
	installCRD(t, &c.API, group)
	c.Kubectl(t, "create", "configmap", "read", "--from-literal=key=value")
	c.Kubectl(t, "create", "serviceaccount", "reader")
	c.Kubectl(t, "create", "clusterrolebinding", "reader", "--clusterrole=cluster-admin", "--serviceaccount=default:reader")
	token := strings.TrimSpace(c.Kubectl(t, "create", "token", "reader"))
	byToken := c.Anonymous(t)
	byToken.BearerToken = token
	load := harness.MustLoad(t, c.Config(t), 6, []string{
		"/api/v1/namespaces/default/configmaps/read", createGadget(t, &c.API, group, "one"), "/apis/" + group + "/v1",
	}, harness.IsOK)
	tokens := harness.MustLoad(t, byToken, 2, []string{"/api/v1/namespaces/default/configmaps/read"}, harness.IsOK)
	for range 2 {
		for _, tier := range []string{"core", "extensions"} {
			for i := range 2 {
				s := c.WaitReady(t)
				pid := replicaStatus(s, tier, i).PID
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				c.WaitStatus(t, harness.StartBound, "it is restarted and all is Ready", func(s harness.Status) bool {
					return s.Phase == "Ready" && replicaStatus(s, tier, i).PID != pid && replicaStatus(s, tier, i).PID != 0
				})
			}
		}
	}
	for name, l := range map[string]*harness.Load{"certificates": load, "tokens": tokens} {
		report := l.Stop()
		if len(report.Failures) > 0 || report.OK() < 500 {
			t.Errorf("%s: %d were fine, %d failed:\n%s", name, report.OK(), len(report.Failures), firstLines(strings.Join(report.Failures, "\n"), 10))
		}
	}
}

// Whoever is told that a CRD is established finds it at every replica.
func TestAnEstablishedCRDIsServedByEveryReplica(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{Args: []string{"--replicas=extensions=3"}})
	var clients []*http.Client
	for range 12 {
		own := rest.CopyConfig(c.Config(t))
		own.Dial = (&net.Dialer{}).DialContext
		clients = append(clients, harness.Must(rest.HTTPClientFor(own))(t))
	}
	for n := range 5 {
		group := fmt.Sprintf("everywhere%d.example.com", n)
		c.KubectlInput(t, crd(group), "create", "-f", "-")
		c.Kubectl(t, "wait", "--for=condition=Established", "crd/gadgets."+group)
		for i, client := range clients {
			r := harness.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL(t)+gadgetsPath(group), nil))(t)
			if got, err := harness.Do(client, r); err != nil || got.Code != http.StatusOK && got.Code != http.StatusTooManyRequests { // its cache fills
				t.Errorf("client %d: %s %v", i, got, err)
			}
		}
	}
}

func replicaStatus(s harness.Status, tier string, i int) harness.ReplicaStatus {
	for _, t := range s.Tiers {
		if t.Name == tier && i < len(t.Replicas) {
			return t.Replicas[i]
		}
	}
	return harness.ReplicaStatus{}
}

// Caches of two replicas are never at the same moment where they are. A client that
// was told of one thing is never told of the time before.
func TestReadsOfOneConnectionAreMonotonic(t *testing.T) {
	c := harness.Run(t, harness.Options{Args: []string{"--replicas=core=3"}})
	written := openJournal(t, c.Config(t), "written")
	var readers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	reads := 0
	for range 4 {
		own := rest.CopyConfig(c.Config(t))
		own.Dial = (&net.Dialer{}).DialContext
		client := harness.Must(rest.HTTPClientFor(own))(t)
		readers.Go(func() {
			last := 0
			for ctx.Err() == nil {
				now, err := cachedVersion(ctx, client, c.URL(t))
				if ctx.Err() != nil {
					return
				}
				if err != nil || now < last {
					t.Errorf("%d after %d, %v", now, last, err)
					return
				}
				last = now
				mu.Lock()
				reads++
				mu.Unlock()
			}
		})
	}
	harness.Eventually(t, soon, "there are enough reads", func() error {
		mu.Lock()
		defer mu.Unlock()
		if reads < 3000 && !t.Failed() {
			return fmt.Errorf("%d", reads)
		}
		return nil
	})
	stop()
	readers.Wait()
	written.close(t)
}

// cachedVersion is the version of an object in the cache of who answers.
func cachedVersion(ctx context.Context, client *http.Client, url string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/namespaces/default/configmaps?resourceVersion=0&fieldSelector=metadata.name%3Dwritten", nil)
	if err != nil {
		return 0, err
	}
	answer, err := harness.Do(client, r)
	if err != nil || answer.Code != http.StatusOK {
		return 0, errors.Join(err, errors.New(answer.String()))
	}
	list := corev1.ConfigMapList{}
	if err := json.Unmarshal(answer.Body, &list); err != nil {
		return 0, err
	}
	return strconv.Atoi(list.ResourceVersion)
}
