package spine

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// ownEtcd starts an etcd, and returns what the move and the next start need.
func ownEtcd(t *testing.T) (e *harness.Etcd, move, start []string) {
	t.Helper()
	e = harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { e.End(soon) })
	move = []string{"etcd", "move-extensions"}
	for _, flag := range e.Flags() {
		move = append(move, strings.Replace(flag, "--etcd-", "--to-", 1))
		start = append(start, strings.Replace(flag, "--etcd-", "--extensions-etcd-", 1))
	}
	return e, move, start
}

// creators create gadgets one after the other, each until it is known to be there. A create that
// has begun when they are canceled is waited for: one whose client leaves may be stored later on.
type creators struct {
	gadgets dynamic.ResourceInterface
	cancel  context.CancelFunc
	wait    sync.WaitGroup

	mu       sync.Mutex
	created  map[string]bool
	failures []string
}

func startCreators(t *testing.T, api *harness.API, group string, n int) *creators {
	t.Helper()
	c := &creators{gadgets: gadgetsOf(t, api, group), created: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for i := range n {
		c.wait.Go(func() {
			for k := 0; k < 20000 && ctx.Err() == nil; k++ {
				c.create(ctx, group, fmt.Sprintf("made-by-%d-%d", i, k))
			}
		})
	}
	t.Cleanup(func() { cancel(); c.wait.Wait() })
	return c
}

func (c *creators) create(ctx context.Context, group, name string) {
	for ctx.Err() == nil {
		err := c.createOnce(group, name)
		c.mu.Lock()
		switch {
		case err == nil || apierrors.IsAlreadyExists(err):
			c.created[name] = true
		case apierrors.IsNotFound(err):
			c.failures = append(c.failures, fmt.Sprintf("%s: %v", name, err))
		}
		c.mu.Unlock()
		if err == nil || apierrors.IsAlreadyExists(err) {
			return
		}
	}
}

func (c *creators) createOnce(group, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	_, err := c.gadgets.Create(ctx, gadget(group, name, 1), metav1.CreateOptions{})
	return err
}

func (c *creators) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.created)
}

// awaitMore waits until so many more were created.
func (c *creators) awaitMore(t *testing.T, n int) {
	t.Helper()
	before := c.count()
	harness.Eventually(t, harness.StartBound, "gadgets are created", func() error {
		if now := c.count(); now < before+n {
			return fmt.Errorf("%d since", now-before)
		}
		return nil
	})
}

func gadgetsOf(t *testing.T, api *harness.API, group string) dynamic.ResourceInterface {
	t.Helper()
	return api.Dynamic(t).Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "gadgets"}).Namespace("default")
}

// gadgetNames lists the gadgets there are.
func gadgetNames(t *testing.T, api *harness.API, group string) map[string]bool {
	t.Helper()
	list := harness.Must(gadgetsOf(t, api, group).List(t.Context(), metav1.ListOptions{}))(t)
	all := map[string]bool{}
	for _, item := range list.Items {
		all[item.GetName()] = true
	}
	return all
}

func (c *creators) checkAll(t *testing.T, there map[string]bool, where string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.created {
		if !there[name] {
			t.Errorf("%s was acknowledged and is not in %s", name, where)
		}
	}
	if len(c.failures) > 0 {
		t.Errorf("told that there is no such resource: %s", firstLines(strings.Join(c.failures, "\n"), 5))
	}
}

// Custom resources move to another etcd under load: no acknowledged write is lost, nobody is
// told 404, old resource versions are too old, informers see it all, and core does not notice.
func TestCustomResourcesMoveUnderLoadToAnEtcdOfTheirOwn(t *testing.T) {
	own, move, _ := ownEtcd(t) // it ends after the cluster
	c := harness.Run(t, harness.Options{})
	const group = "moved.example.com"
	gadgets := installCRD(t, &c.API, group)
	path := createGadget(t, &c.API, group, "first")
	c.Kubectl(t, "create", "configmap", "read", "--from-literal=key=value")

	informers := dynamicinformer.NewDynamicSharedInformerFactory(c.Dynamic(t), 0)
	informer := informers.ForResource(gadgets).Informer()
	stop := make(chan struct{})
	defer informers.Shutdown()
	defer close(stop)
	informers.Start(stop)
	cache.WaitForCacheSync(stop, informer.HasSynced)

	core := harness.MustLoad(t, c.Config(t), 1, []string{"/api/v1/namespaces/default/configmaps/read"}, harness.IsOK)
	customs := harness.MustLoad(t, c.Config(t), 1, []string{path}, func(a harness.Answer, err error) bool {
		return err != nil || a.Code == http.StatusOK || a.Code == http.StatusServiceUnavailable
	})
	writers := startCreators(t, &c.API, group, 3)
	writers.awaitMore(t, 100)
	old := harness.Must(gadgetsOf(t, &c.API, group).List(t.Context(), metav1.ListOptions{Limit: 1}))(t)

	began := time.Now()
	stdout, stderr, code := c.Supervisor(t.Context(), move...)
	if code != 0 || !strings.Contains(stdout, "--extensions-etcd-servers="+own.URL) {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	t.Logf("%v: %s", time.Since(began).Round(time.Millisecond), stdout)
	writers.awaitMore(t, 100)
	writers.cancel()
	writers.wait.Wait()

	for name, report := range map[string]harness.Report{"core": core.Stop(), "custom resources": customs.Stop()} {
		if len(report.Failures) > 0 || report.OK() < 100 {
			t.Errorf("%s: %v: %s", name, report.Codes, firstLines(strings.Join(report.Failures, "\n"), 5))
		}
	}
	there := gadgetNames(t, &c.API, group)
	writers.checkAll(t, there, "the list")
	harness.Eventually(t, soon, "the informer has it all", func() error {
		return sameNames(informer.GetStore().ListKeys(), there)
	})
	for what, options := range map[string]metav1.ListOptions{
		"watch": {ResourceVersion: old.GetResourceVersion()}, "the rest of a list": {Continue: old.GetContinue(), Limit: 1},
	} {
		var err error
		if what == "watch" {
			w, failed := gadgetsOf(t, &c.API, group).Watch(t.Context(), options)
			if err = failed; err == nil {
				event := <-w.ResultChan()
				err = apierrors.FromObject(event.Object)
				w.Stop()
			}
		} else {
			_, err = gadgetsOf(t, &c.API, group).List(t.Context(), options)
		}
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			t.Errorf("%s with a resource version of before: %v", what, err)
		}
	}
	if got := own.Stored(t, "/registry/"+group+"/gadgets/"); len(got) != len(there) {
		t.Errorf("%d keys are in the etcd, %d gadgets in the API", len(got), len(there))
	}
	for key := range own.Stored(t, "/registry/") {
		if !strings.Contains(key, ".example.com") && !strings.Contains(key, "/triptych/") {
			t.Errorf("%s is in the etcd of extensions", key)
		}
	}
	if s, _, err := c.Status(); err != nil || s.Phase != "Ready" {
		t.Errorf("the phase is %s: %v", s.Phase, err)
	}
	if out, _, _ := c.Supervisor(t.Context(), "status"); !strings.Contains(out, own.URL) {
		t.Errorf("status says nothing of %s: %s", own.URL, out)
	}
}

// A move that is killed half way leaves everything where it was and is run again. Afterwards
// the supervisor refuses every etcd but the right one, and the data comes back.
func TestAMoveThatIsKilledLosesNothingAndTheWrongEtcdIsRefused(t *testing.T) {
	own, move, start := ownEtcd(t) // it ends after the clusters
	dir := harness.TempDir(t)
	c := harness.Run(t, harness.Options{Dir: dir})
	const group = "killed.example.com"
	installCRD(t, &c.API, group)
	path := createGadget(t, &c.API, group, "first")
	writers := startCreators(t, &c.API, group, 1)
	writers.awaitMore(t, 20)

	// Killed where extensions has been told to stop and nothing is decided.
	killed := make(chan int, 1)
	go func() {
		_, _, code := c.Supervisor(context.Background(), move...)
		killed <- code
	}()
	harness.Eventually(t, soon, "the bulk is copied", func() error {
		if log, err := os.ReadFile(c.Path("log", "supervisor.log")); err != nil || !strings.Contains(string(log), "copied what there is") {
			return fmt.Errorf("not yet: %v", err)
		}
		return nil
	})
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := <-killed; code == 0 {
		t.Error("the command ends with 0")
	}
	writers.cancel()
	writers.wait.Wait()
	if err := c.GoneWithin(soon); err != nil {
		t.Fatal(err)
	}

	mistake{args: start, want: []string{"custom resources are in the etcd of --etcd-servers", "move-extensions"}}.check(t, dir)
	again := harness.Run(t, harness.Options{Dir: dir})
	writers.checkAll(t, gadgetNames(t, &again.API, group), "the first etcd")
	createGadget(t, &again.API, group, "second")
	if stdout, stderr, code := again.Supervisor(t.Context(), append(move, "--delete-source")...); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	there := gadgetNames(t, &again.API, group)
	if writers.checkAll(t, there, "the second etcd"); !there["second"] {
		t.Error("what was written after the first attempt is missing")
	}
	again.Stop(t)

	_, _, another := ownEtcd(t)
	mistake{want: []string{"custom resources are in an etcd of their own", "--extensions-etcd-servers"}}.check(t, dir)
	mistake{args: another, want: []string{"is not the one that holds the custom resources"}}.check(t, dir)

	last := harness.Run(t, harness.Options{Dir: dir, Args: start})
	if got := gadgetNames(t, &last.API, group); len(got) != len(there) {
		t.Errorf("%d gadgets after the start, %d before", len(got), len(there))
	}
	if stdout, stderr, code := last.Supervisor(t.Context(), "etcd", "move-extensions", "--to-main", "--delete-source"); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	if answer := last.Get(t, path); answer.Code != http.StatusOK {
		t.Errorf("back in the first etcd: %s", answer)
	}
	if got := gadgetNames(t, &last.API, group); len(got) != len(there) {
		t.Errorf("%d gadgets are back, of %d", len(got), len(there))
	}
	if got := own.Stored(t, "/registry/"+group+"/"); len(got) > 0 {
		t.Errorf("%d keys are left in the etcd of extensions", len(got))
	}
}

// The extensions of another host, on the same etcd, stops when a move begins, and does not serve
// from what was left: what it has acknowledged was moved, and nothing of it is told as missing.
func TestExtensionsOfAnotherHostLeavesTheEtcdToo(t *testing.T) {
	t.Parallel() // it waits more than it works
	own, move, _ := ownEtcd(t)
	main := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { main.End(soon) })
	c := harness.Run(t, harness.Options{Args: main.Flags()})
	const group = "hosts.example.com"
	installCRD(t, &c.API, group)
	path := createGadget(t, &c.API, group, "first")
	other := harness.Run(t, harness.Options{Args: main.Flags()})
	served(t, &other.API, path)
	writers := startCreators(t, &other.API, group, 2)
	writers.awaitMore(t, 20)
	if stdout, stderr, code := c.Supervisor(t.Context(), move...); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	if answer := other.Get(t, path); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("the other host answers after the move: %s", answer)
	}
	writers.cancel()
	writers.wait.Wait()
	writers.checkAll(t, gadgetNames(t, &c.API, group), "the list")
	if got, there := own.Stored(t, "/registry/"+group+"/gadgets/"), gadgetNames(t, &c.API, group); len(got) != len(there) {
		t.Errorf("%d keys are in the etcd, %d gadgets in the API", len(got), len(there))
	}
	harness.Eventually(t, soon, "the log of the other host says why", func() error {
		log, err := os.ReadFile(other.Path("log", "extensions.log"))
		if err != nil || !strings.Contains(string(log), "custom resources are in an etcd of their own") {
			return fmt.Errorf("not yet: %v", err)
		}
		return nil
	})
}

// sameNames says which gadgets of a store, by their keys, are not in the list, and which of the list are not in the store.
func sameNames(keys []string, list map[string]bool) error {
	missing, more := maps.Clone(list), []string(nil)
	for _, key := range keys {
		_, name, _ := cache.SplitMetaNamespaceKey(key)
		if !list[name] {
			more = append(more, name)
		}
		delete(missing, name)
	}
	if len(missing)+len(more) > 0 {
		return fmt.Errorf("%d of %d: missing %v, only there %v", len(keys), len(list), slices.Collect(maps.Keys(missing)), more)
	}
	return nil
}
