package aggregator

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/tier"
)

// recorder is upstream's controller, which deletes what it manages and was not
// told of from Run on.
type recorder struct {
	mu      sync.Mutex
	log     []string
	changed chan struct{}
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{}, 100)} }

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
	r.changed <- struct{}{}
}

func (r *recorder) AddAPIServiceToSync(s *v1.APIService) {
	r.note("sync %s %d/%d", s.Name, s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority)
}
func (r *recorder) AddAPIServiceToSyncOnStart(s *v1.APIService) {
	r.note("once %s %d/%d", s.Name, s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority)
}
func (r *recorder) RemoveAPIServiceToSync(name string)      { r.note("remove %s", name) }
func (r *recorder) Run(workers int, stopCh <-chan struct{}) { r.note("run") }

// taken returns what was noted since it was last asked.
func (r *recorder) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.log
	r.log = nil
	return log
}

// await returns what was noted once the given line was.
func (r *recorder) await(t *testing.T, line string) []string {
	t.Helper()
	var log []string
	for !slices.Contains(log, line) {
		select {
		case <-r.changed:
			log = append(log, r.taken()...)
		case <-t.Context().Done():
			t.Fatalf("no %q in %q", line, log)
		}
	}
	return log
}

func wantLog(t *testing.T, when string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", when, got, want)
	}
}

func newRegistration(r *recorder) *registration {
	return &registration{
		registrar: r, builtins: sets.New("v1.apps"), desired: sets.New[string](),
		synced: func() bool { return true }, deadline: time.Now().Add(time.Hour),
	}
}

func announced(groups ...string) handshake.State {
	return handshake.State{Routes: served(true, groups...)}
}

func TestWhatExtensionsServesIsRegisteredOnceAndRemovedWhenItIsGone(t *testing.T) {
	r := newRecorder()
	reg := newRegistration(r)
	reg.sync(announced("apiextensions.k8s.io", "example.org"))
	wantLog(t, "first", r.taken(), []string{"once v1.apiextensions.k8s.io 16700/15", "sync v1.example.org 1000/100"})
	reg.sync(announced("apiextensions.k8s.io", "example.org", "example.com"))
	wantLog(t, "one more", r.taken(), []string{"sync v1.example.com 1000/100"})
	reg.sync(announced("apiextensions.k8s.io", "example.com"))
	wantLog(t, "one less", r.taken(), []string{"remove v1.example.org"})
	reg.sync(announced("apiextensions.k8s.io", "example.com", "example.org"))
	wantLog(t, "again", r.taken(), []string{"sync v1.example.org 1000/100"})
}

func TestACRDInABuiltInGroupTakesNothingFromIt(t *testing.T) {
	r := newRecorder()
	reg := newRegistration(r)
	reg.sync(announced("apps"))
	reg.sync(announced())
	wantLog(t, "of what core serves", r.taken(), nil)
	// One that core could serve and does not is a custom resource, and goes with it.
	reg.sync(announced("policy"))
	reg.sync(announced())
	wantLog(t, "of what core does not serve", r.taken(), []string{"sync v1.policy 1000/100", "remove v1.policy"})
}

// From the moment the controller runs it deletes what it was not told of.
func TestTheControllerStartsOnlyWhenExtensionsHasSaidAllThereIs(t *testing.T) {
	extensions := start(t, newPKI(t), tier.Extensions)
	r := newRecorder()
	reg := newRegistration(r)
	reg.extensions = extensions.Delegate
	extensions.tell(false, "one.org")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		reg.run(ctx)
	}()
	extensions.tell(false, "one.org", "two.org")
	extensions.tell(true, "one.org", "two.org")
	wantLog(t, "at the start", r.await(t, "run"), []string{"sync v1.one.org 1000/100", "sync v1.two.org 1000/100", "run"})

	// A new life of extensions that is not through yet misses what it will have.
	extensions.tell(false, "one.org")
	extensions.tell(true, "one.org", "three.org", "two.org")
	wantLog(t, "after an incomplete announcement", r.await(t, "sync v1.three.org 1000/100"), []string{"sync v1.three.org 1000/100"})
	extensions.tell(true, "three.org", "two.org")
	wantLog(t, "after a removal", r.await(t, "remove v1.one.org"), []string{"remove v1.one.org"})
	extensions.Stop()
	if _, err := extensions.Client.Wait(t.Context(), func(s handshake.State) bool { return !s.Connected }); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	wantLog(t, "after a loss", r.taken(), nil)
}

func TestWithoutExtensionsTheAPIServicesOfAnEarlierLifeStay(t *testing.T) {
	paths := newPKI(t)
	extensions := start(t, paths, tier.Extensions)
	r := newRecorder()
	reg := newRegistration(r)
	reg.extensions, reg.deadline = extensions.Delegate, time.Now().Add(-time.Second)
	reg.services = listing(t,
		registered("one.org", "v1", "true", nil), registered("gone.org", "v1", "true", nil),
		registered("apps", "v1", "onstart", nil), registered("users.org", "v1", "", &v1.ServiceReference{}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		reg.run(ctx)
	}()
	log := r.await(t, "run")
	slices.Sort(log[:len(log)-1])
	wantLog(t, "at the start", log, []string{"sync v1.gone.org 1000/100", "sync v1.one.org 1000/100", "run"})
	extensions.tell(false)
	extensions.tell(true, "one.org")
	wantLog(t, "when it is back", r.await(t, "remove v1.gone.org"), []string{"remove v1.gone.org"})
	cancel()
	<-done
}

func TestOnlyALivingTiersWholeAnnouncementIsComplete(t *testing.T) {
	extensions := start(t, newPKI(t), tier.Extensions)
	if state, _ := extensions.Client.State(); handshake.Complete(state) {
		t.Error("complete before it was heard of")
	}
	if handshake.Complete(extensions.tell(false, "one.org")) {
		t.Error("an incomplete one")
	}
	state := extensions.tell(true, "one.org")
	if !handshake.Complete(state) {
		t.Error("a complete one is not")
	}
	state.Connected = false
	if handshake.Complete(state) {
		t.Error("of the dead")
	}
}

func TestTheGroupVersionsOfCoreAreFoundAmongItsPaths(t *testing.T) {
	got := listedGroupVersions([]string{
		"/api", "/api/v1", "/apis", "/apis/", "/apis/apps", "/apis/apps/v1", "/apis/batch/v1/", "/healthz/poststarthook/x", "/openapi/v3",
	})
	want := []metav1.GroupVersion{{Version: "v1"}, {Group: "apps", Version: "v1"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if name := serviceName(want[0]); name != "v1." {
		t.Errorf("the core group's APIService is %q", name)
	}
}

// informed is an informer that tells what the test tells it.
type informed struct {
	cache.SharedIndexInformer
	cache.ResourceEventHandler
}

func (i *informed) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.ResourceEventHandler = h
	return nil, nil
}

func TestTheHeadIsReadyWhenEachAPIServiceHasBeenAvailableOnce(t *testing.T) {
	i := &informed{}
	check := completion(sets.New("v1.apps", "v1.batch"), i)
	if check.Name() != "autoregister-completion" {
		t.Errorf("the check is called %q", check.Name())
	}
	wantMissing := func(when string, names ...string) {
		t.Helper()
		err := check.Check(&http.Request{})
		if (err != nil) != (len(names) > 0) || (err != nil && !strings.Contains(err.Error(), fmt.Sprint(names))) {
			t.Errorf("%s: got %v, want %v missing", when, err, names)
		}
	}
	available := func(name string, status v1.ConditionStatus) *v1.APIService {
		return &v1.APIService{ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: v1.APIServiceStatus{Conditions: []v1.APIServiceCondition{{Type: v1.Available, Status: status}}}}
	}
	wantMissing("at first", "v1.apps", "v1.batch")
	i.OnAdd(available("v1.apps", v1.ConditionFalse), true)
	i.OnAdd(&v1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.batch"}}, true)
	wantMissing("when they exist", "v1.apps", "v1.batch")
	i.OnUpdate(nil, available("v1.apps", v1.ConditionTrue))
	wantMissing("when one is available", "v1.batch")
	i.OnUpdate(nil, available("v1.apps", v1.ConditionFalse))
	i.OnAdd(available("v1.batch", v1.ConditionTrue), false)
	wantMissing("when each has been")
}

// The group of CRDs is registered once and for all: were it forgotten while
// extensions is away, it would be deleted and not come back.
func TestAllThatStandsForExtensionsIsRemembered(t *testing.T) {
	got := remembered(listing(t,
		registered("apiextensions.k8s.io", "v1", "onstart", nil), registered("example.org", "v1", "true", nil),
		registered("apps", "v1", "onstart", nil), registered("metrics.k8s.io", "v1", "", nil)))
	names := map[string]bool{}
	for _, gv := range got {
		names[serviceName(gv)] = true
	}
	if len(names) != 2 || !names["v1.apiextensions.k8s.io"] || !names["v1.example.org"] {
		t.Errorf("remembered %v", got)
	}
}
