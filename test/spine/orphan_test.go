package spine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"triptych.dev/triptych/test/harness"
)

// orphanBound is how long anything may outlive a supervisor that was killed.
const orphanBound = 10 * time.Second

// seeded returns a source of chance that a failure can be repeated with.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the seed was %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// killedSupervisor kills the supervisor and expects everything to go with it.
func killedSupervisor(t *testing.T, c *harness.Cluster) {
	t.Helper()
	if err := c.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(soon); err != nil {
		t.Fatal(err)
	}
	if err := c.GoneWithin(orphanBound); err != nil {
		t.Fatal(err)
	}
}

// awaitSight waits for something in files or processes, far more often than
// harness.Eventually would, or the moment is over.
func awaitSight(t *testing.T, what string, seen func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(harness.StartBound); !seen(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

// A supervisor that is killed at any moment leaves no process behind, and what
// it leaves on disk is no obstacle: the same directory goes through all of these
// and is ready in the end.
func TestSupervisorKilledAtAnyMomentLeavesNoOrphan(t *testing.T) {
	t.Parallel() // it waits more than it works
	chance := seeded(t)
	dir := harness.TempDir(t)
	exists := func(elem ...string) func(*harness.Cluster) bool {
		return func(c *harness.Cluster) bool { _, err := os.Stat(c.Path(elem...)); return err == nil }
	}
	forked := func(n int) func(*harness.Cluster) bool {
		return func(c *harness.Cluster) bool { return len(childrenOf(c.PID())) >= n }
	}
	for _, moment := range []struct {
		name string
		seen func(*harness.Cluster) bool
	}{
		{"the marker is written", exists("triptych.yaml")},
		{"the first CA is written", exists("pki", "ca.key")},
		{"a leaf is written", exists("pki", "internal", "core-serving.key")},
		{"the first wiring is written", exists("run", "extensions-0.wiring.json")},
		{"the control socket is open", exists("run", "control.sock")},
		{"etcd is forked", forked(1)},
		{"a tier is forked", forked(2)},
		{"two tiers are forked", forked(3)},
		{"all are forked", forked(4)},
	} {
		t.Run(moment.name, func(t *testing.T) {
			c := harness.Begin(t, harness.Options{Dir: dir})
			awaitSight(t, moment.name, func() bool { return moment.seen(c) })
			// A child that is stopped cannot see that its lifeline has broken.
			if children := childrenOf(c.PID()); len(children) > 0 {
				syscall.Kill(children[chance.IntN(len(children))], syscall.SIGSTOP)
			}
			killedSupervisor(t, c)
		})
	}
	for range 3 {
		after := time.Duration(chance.IntN(4000)) * time.Millisecond
		t.Run(fmt.Sprintf("%v after the start", after), func(t *testing.T) {
			c := harness.Begin(t, harness.Options{Dir: dir})
			<-time.After(after)
			killedSupervisor(t, c)
		})
	}
	var acknowledged []string
	t.Run("under load, with a child stopped", func(t *testing.T) {
		c := harness.Run(t, harness.Options{Dir: dir})
		w := startWriters(t, c)
		harness.Eventually(t, soon, "a hundred writes", func() error {
			if n := len(w.names()); n < 100 {
				return fmt.Errorf("%d so far", n)
			}
			return nil
		})
		pause(t, c.WaitReady(t), "extensions")
		killedSupervisor(t, c)
		acknowledged = w.stop()
	})
	t.Run("during a stop", func(t *testing.T) {
		c := harness.Run(t, harness.Options{Dir: dir})
		s := c.WaitReady(t)
		if err := c.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		pause(t, s, "core")
		<-time.After(time.Duration(chance.IntN(1000)) * time.Millisecond)
		killedSupervisor(t, c)
	})
	c := harness.Run(t, harness.Options{Dir: dir})
	var stored metav1.PartialObjectMetadataList
	c.Get(t, writersPath).Into(t, &stored)
	found := sets.New[string]()
	for _, object := range stored.Items {
		found.Insert(object.Name)
	}
	if lost := sets.New(acknowledged...).Difference(found); lost.Len() > 0 {
		t.Errorf("of %d acknowledged writes %d are lost: %v", len(acknowledged), lost.Len(), sets.List(lost))
	}
}

const writersPath = "/api/v1/namespaces/default/configmaps"

// writers create ConfigMaps and remember which of them were acknowledged.
type writers struct {
	cancel       context.CancelFunc
	done         sync.WaitGroup
	mu           sync.Mutex
	acknowledged []string
}

func startWriters(t *testing.T, c *harness.Cluster) *writers {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.StartBound)
	w := &writers{cancel: cancel}
	config := c.Config(t)
	for i := range 4 {
		w.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("write-%d-%d", i, n)
				body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q}}`, name)
				answer, err := harness.Send(ctx, config, http.MethodPost, writersPath, body)
				if err != nil {
					return // the supervisor is gone
				}
				if answer.Code == http.StatusCreated {
					w.mu.Lock()
					w.acknowledged = append(w.acknowledged, name)
					w.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *writers) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acknowledged)
}

// stop may be called twice.
func (w *writers) stop() []string {
	w.cancel()
	w.done.Wait()
	return w.names()
}

// A tier that is killed at any moment of the first start is started again.
func TestChildrenKilledWhileStartingAreStartedAgain(t *testing.T) {
	t.Parallel() // it waits more than it works
	chance := seeded(t)
	c := harness.Begin(t, harness.Options{})
	var etcd int
	awaitSight(t, "etcd is forked", func() bool {
		children := childrenOf(c.PID())
		if len(children) > 0 {
			etcd = children[0]
		}
		return etcd != 0
	})
	for range 5 {
		<-time.After(time.Duration(chance.IntN(1500)) * time.Millisecond)
		tiers := slices.DeleteFunc(childrenOf(c.PID()), func(pid int) bool { return pid == etcd })
		if len(tiers) == 0 {
			continue
		}
		if err := syscall.Kill(tiers[chance.IntN(len(tiers))], syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	c.WaitReady(t)
	served(t, &c.API, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
}
