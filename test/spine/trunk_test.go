package spine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"triptych.dev/triptych/test/harness"
)

// Watches of core's objects and of custom resources share a connection each, between the head and the tier that serves
// them, and each sees all that happens, in order.
func TestWatchesShareATrunk(t *testing.T) {
	c := harness.Run(t, harness.Options{})
	const group, watches, writes = "trunk.example.com", 30, 20
	gadgets := c.Dynamic(t).Resource(installCRD(t, &c.API, group)).Namespace("default")
	configMaps := c.Clientset(t).CoreV1().ConfigMaps("default")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	for delegate, resource := range map[string]struct {
		watch func() (watch.Interface, error)
		write func(name string) error
	}{
		"core": {
			func() (watch.Interface, error) { return configMaps.Watch(ctx, metav1.ListOptions{}) },
			func(name string) error {
				_, err := configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
				return err
			},
		},
		"extensions": {
			func() (watch.Interface, error) { return gadgets.Watch(ctx, metav1.ListOptions{}) },
			func(name string) error {
				_, err := gadgets.Create(ctx, gadget(group, name, 1), metav1.CreateOptions{})
				return err
			},
		},
	} {
		t.Run(delegate, func(t *testing.T) {
			// The first ones may come before there is a trunk.
			var all []watch.Interface
			harness.Eventually(t, soon, "watches are on a trunk", func() error {
				w, err := resource.watch()
				if err != nil {
					return err
				}
				all = append(all, w)
				if n := onTrunk(t, c, delegate); n < watches {
					return fmt.Errorf("%d of %d are", n, len(all))
				}
				return nil
			})
			for i := range writes {
				if err := resource.write(fmt.Sprintf("written-%02d", i)); err != nil {
					t.Fatal(err)
				}
			}
			for n, w := range all {
				for i := 0; i < writes; {
					event, ok := <-w.ResultChan()
					if !ok {
						t.Fatalf("watch %d ended after %d writes", n, i)
					}
					object := event.Object.(metav1.Object)
					switch want := fmt.Sprintf("written-%02d", i); {
					case object.GetName() == want && event.Type == watch.Added:
						i++
					case len(object.GetName()) == len(want):
						t.Fatalf("watch %d: %s of %s in the place of %s", n, event.Type, object.GetName(), want)
					}
				}
				w.Stop()
			}
			harness.Eventually(t, soon, "the watches are off the trunk", func() error {
				if n := onTrunk(t, c, delegate); n >= watches {
					return fmt.Errorf("%d are on it", n)
				}
				return nil
			})
		})
	}
}

// onTrunk asks the head how many watches to the delegate share a connection.
func onTrunk(t *testing.T, c *harness.Cluster, delegate string) int {
	t.Helper()
	all := string(c.Get(t, "/debug/tiers/aggregator/metrics").Body)
	_, rest, ok := strings.Cut(all, `triptych_hop_trunk_watches{delegate="`+delegate+`"} `)
	digits, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		t.Fatalf("no number of watches to %s: %v", delegate, err)
	}
	return n
}
