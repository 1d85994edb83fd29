package clients

import (
	"fmt"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// newControllersWhileAway starts a controller manager that knows nothing yet while
// extensions cannot start. What extensions has must not seem gone: nothing that
// it owns is collected, and no namespace goes before what extensions has in it.
// What was deleted is collected once extensions is back. Against stock there is
// only the new controller manager.
func newControllersWhileAway(t *testing.T, w *world) {
	ns, doomed := w.namespace(t, "away"), w.namespace(t, "away-doomed")
	f := forest{w.Dynamic(t)}
	var kept, lost []thing
	for i := range 20 {
		custom := f.make(t, widgets, ns, fmt.Sprint("kept-", i))
		kept = append(kept, custom, f.make(t, configMaps, ns, fmt.Sprint("of-kept-", i), custom))
		core := f.make(t, configMaps, ns, fmt.Sprint("lost-", i))
		lost = append(lost, core, f.make(t, widgets, ns, fmt.Sprint("of-lost-", i), core))
		f.make(t, widgets, doomed, fmt.Sprint("doomed-", i))
	}
	if w.cluster != nil {
		w.programs.Break(t, "extensions")
		pid := w.cluster.WaitReady(t).Replica("extensions").PID
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.cluster.WaitStatus(t, harness.StartBound, "extensions is away", func(s harness.Status) bool { return s.Phase == "Degraded" })
	}
	w.restartControllers(t)
	w.Kubectl(t, "delete", "namespace", doomed, "--wait=false")
	for _, o := range lost {
		if o.kind == configMaps {
			f.delete(t, o, metav1.DeletePropagationBackground)
		}
	}
	// The new collector works: it collects what core alone can tell about.
	canary := f.make(t, configMaps, ns, "canary", thing{configMaps, ns, "never", "00000000-0000-0000-0000-000000000000"})
	f.gone(t, canary)
	if w.cluster != nil {
		w.field(t, "", "namespace/"+doomed, `.status.conditions[?(@.type=="NamespaceDeletionDiscoveryFailure")].status`, "True")
		for _, o := range kept {
			if o.kind == configMaps {
				f.there(t, o)
			}
		}
		w.programs.Mend(t, "extensions")
		w.cluster.WaitReady(t)
	}
	f.gone(t, lost...)
	w.wait(t, "", "delete", "namespace/"+doomed)
	left := harness.Must(f.Resource(widgets).Namespace(doomed).List(t.Context(), metav1.ListOptions{}))(t)
	if len(left.Items) > 0 {
		t.Errorf("the namespace has gone, and left %d widgets", len(left.Items))
	}
	f.there(t, kept...)
}

// rolloutWhileKilled changes a Deployment and runs Jobs while each process is
// killed in turn: all of it ends well, and no client gives up, among them a
// scheduler that would if it lost its lease. Against stock nothing is killed.
func rolloutWhileKilled(t *testing.T, w *world) {
	ns := w.namespace(t, "rollout")
	w.apply(t, workload("Deployment", "web", "  replicas: 20\n")+"---\n"+service("web", ""), "-n", ns)
	w.endpoints(t, ns, "web", 20)
	for _, tier := range []string{"extensions", "core", "aggregator"} {
		w.Kubectl(t, "-n", ns, "set", "image", "deployment/web", "main=none:"+tier)
		w.apply(t, job(tier, 20, ""), "-n", ns)
		if w.cluster != nil {
			w.kill(t, tier)
		}
		w.Kubectl(t, "-n", ns, "rollout", "status", "deployment/web", "--timeout="+patience.String())
		w.wait(t, ns, "condition=Complete", "job/"+tier)
		w.field(t, ns, "job/"+tier, ".status.succeeded", "20")
	}
	w.endpoints(t, ns, "web", 20)
	for name, p := range w.beside {
		select {
		case <-p.Exited():
			t.Errorf("%s has ended: %s", name, p.Output.Lines()[len(p.Output.Lines())-1])
		default:
		}
	}
}

// restartControllers replaces the controller manager by one that knows nothing.
func (w *world) restartControllers(t *testing.T) {
	t.Helper()
	if err := w.beside[controllers].End(harness.StopBound); err != nil {
		t.Fatal(err)
	}
	w.startControllers(t)
}
