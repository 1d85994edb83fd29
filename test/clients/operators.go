package clients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"triptych.dev/triptych/test/clients/operator"
	"triptych.dev/triptych/test/harness"
)

const (
	casks  = 20
	cellar = "operator"
	// leads is what a process prints when it has become the leader.
	leads = "Starting workers"
)

// operators are two processes of an operator, one of which leads. While their
// casks change all the time, each tier is restarted and killed, and then the
// leader: nothing is lost or done twice, and only the killed leader ends.
func operators(t *testing.T, w *world) {
	w.namespace(t, cellar)
	w.apply(t, operator.CRD)
	o := w.newOperators(t)
	first, second := o.start(t, 0), o.start(t, 1)
	o.webhooks(t)

	client := w.Dynamic(t).Resource(operator.GroupVersion.WithResource("casks")).Namespace(cellar)
	for i := range casks {
		harness.Eventually(t, patience, "a cask is admitted", func() error {
			_, err := client.Create(t.Context(), cask(fmt.Sprint("cask-", i), 0), metav1.CreateOptions{})
			return err
		})
	}
	o.settled(t, client)
	if _, err := client.Create(t.Context(), cask("large", operator.MaxBottles+1), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a cask that the webhook forbids: %v", err)
	}
	orders := keepOrdering(t, client)
	if w.cluster != nil {
		for _, tier := range []string{"extensions", "core", "aggregator"} {
			orders.more(t, 5)
			if out, errs, code := w.cluster.Supervisor(t.Context(), "restart", tier); code != 0 {
				t.Fatalf("restart %s: %d %s%s", tier, code, out, errs)
			}
			orders.more(t, 5)
			w.kill(t, tier)
		}
	}
	orders.more(t, 5)
	o.alive(t, first, second)
	leader, other := first, second
	if second.Output.Contains(leads) == nil {
		leader, other = second, first
	}
	leader.Signal(syscall.SIGKILL)
	harness.Must(leader.Wait(10 * time.Second))(t)
	again := o.start(t, map[*harness.Process]int{first: 0, second: 1}[leader])
	orders.more(t, 5)
	harness.Eventually(t, patience, "there is another leader", func() error {
		if again.Output.Contains(leads) == nil {
			return nil
		}
		return other.Output.Contains(leads)
	})
	orders.more(t, 5)
	t.Logf("%d bottles were ordered meanwhile", orders.stop())
	o.settled(t, client)
	o.alive(t, other, again)

	w.Kubectl(t, "-n", cellar, "delete", "casks", "--all", "--timeout="+patience.String())
	harness.Eventually(t, patience, "the bottles have gone", func() error {
		left, err := w.Clientset(t).CoreV1().ConfigMaps(cellar).List(t.Context(), metav1.ListOptions{LabelSelector: operator.Label})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d are left", len(left.Items))
		}
		return err
	})
	w.Kubectl(t, "delete", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "-l", "of=operator")
}

// kill ends a tier as a crash would, and waits for its successor.
func (w *world) kill(t *testing.T, tier string) {
	t.Helper()
	pid := w.cluster.WaitReady(t).Replica(tier).PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.cluster.WaitStatus(t, harness.StartBound, tier+" is back", func(s harness.Status) bool {
		return s.Phase == "Ready" && s.Replica(tier).PID != pid && s.Replica(tier).PID != 0
	})
}

func cask(name string, bottles int64) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"bottles": bottles}}}
	o.SetGroupVersionKind(operator.GroupVersion.WithKind("Cask"))
	o.SetName(name)
	return o
}

// orders are changes of casks, one bottle more each.
type orders struct {
	filled atomic.Int64
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// keepOrdering changes one cask after the other. What fails is not repeated: the
// next round asks for more.
func keepOrdering(t *testing.T, client dynamic.ResourceInterface) *orders {
	ctx, cancel := context.WithCancel(t.Context())
	o := &orders{cancel: cancel}
	o.done.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for want := 2; want <= operator.MaxBottles; want++ {
			for _, i := range rand.Perm(casks) {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				patch := fmt.Sprintf(`{"spec": {"bottles": %d}}`, want)
				if _, err := client.Patch(ctx, fmt.Sprint("cask-", i), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err == nil {
					o.filled.Add(1)
				}
			}
		}
	})
	return o
}

// more waits until n more orders have been taken.
func (o *orders) more(t *testing.T, n int64) {
	t.Helper()
	enough := o.filled.Load() + n
	harness.Eventually(t, patience, "more orders are taken", func() error {
		if now := o.filled.Load(); now < enough {
			return fmt.Errorf("%d of %d", now, enough)
		}
		return nil
	})
}

// stop ends the orders and tells how many were taken.
func (o *orders) stop() int64 {
	o.cancel()
	o.done.Wait()
	return o.filled.Load()
}

// settled waits until every cask has been seen as it is, and then demands that
// every bottle has been filled once.
func (o *operatorHost) settled(t *testing.T, client dynamic.ResourceInterface) {
	t.Helper()
	harness.Eventually(t, patience, "every cask is as wanted", func() error {
		list, err := client.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		bottles, err := o.w.Clientset(t).CoreV1().ConfigMaps(cellar).List(t.Context(), metav1.ListOptions{LabelSelector: operator.Label})
		if err != nil {
			return err
		}
		filled := map[string]int64{}
		for _, b := range bottles.Items {
			filled[b.Labels[operator.Label]]++
		}
		if len(list.Items) != casks {
			return fmt.Errorf("there are %d casks", len(list.Items))
		}
		for _, c := range list.Items {
			seen, _, _ := unstructured.NestedInt64(c.Object, "status", "observedGeneration")
			want, _, _ := unstructured.NestedInt64(c.Object, "spec", "bottles")
			surplus, _, _ := unstructured.NestedInt64(c.Object, "status", "surplus")
			if surplus > 0 || filled[c.GetName()] > want {
				t.Fatalf("%s has bottles that were filled twice: %d are wanted, %d are there, surplus %d", c.GetName(), want, filled[c.GetName()], surplus)
			}
			if seen != c.GetGeneration() || filled[c.GetName()] != want {
				return fmt.Errorf("%s: seen %d of %d, %d bottles of %d", c.GetName(), seen, c.GetGeneration(), filled[c.GetName()], want)
			}
		}
		return nil
	})
}
