package aggregator

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	v1helper "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/kube-aggregator/pkg/apiserver"
	clientset "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"

	"triptych.dev/triptych/internal/delegate"
	"triptych.dev/triptych/internal/handshake"
)

// registrar is the part of upstream's controller that registration uses.
type registrar interface {
	autoregister.AutoAPIServiceRegistration
	Run(workers int, stopCh <-chan struct{})
}

// registration keeps an APIService for every group version that core and
// extensions serve. What extensions serves is taken from what it announces, not
// from CRDs, so the head need not decode a single schema.
type registration struct {
	registrar  registrar
	services   listers.APIServiceLister
	synced     cache.InformerSynced
	extensions *delegate.Delegate
	// deadline is when to go on with what the APIServices of an earlier life say
	// about extensions.
	deadline time.Time
	// builtins are the names registered for what core serves. No CRD touches them.
	builtins sets.Set[string]
	// desired are the names registered for what extensions serves.
	desired sets.Set[string]
}

// register adds the controller to the server, and its completion to readiness.
func register(server *apiserver.APIAggregator, listed []string, extensions *delegate.Delegate, deadline time.Time) error {
	client, err := clientset.NewForConfig(server.GenericAPIServer.LoopbackClientConfig)
	if err != nil {
		return err
	}
	informer := server.APIRegistrationInformers.Apiregistration().V1().APIServices()
	r := &registration{
		registrar:  autoregister.NewAutoRegisterController(informer, client),
		services:   informer.Lister(),
		synced:     informer.Informer().HasSynced,
		extensions: extensions,
		deadline:   deadline,
		builtins:   sets.New[string](),
		desired:    sets.New[string](),
	}
	pending := sets.New[string]()
	for _, gv := range listedGroupVersions(listed) {
		if p, known := builtIn[gv]; known {
			r.registrar.AddAPIServiceToSyncOnStart(apiService(gv, p))
			pending.Insert(serviceName(gv))
			r.builtins.Insert(serviceName(gv))
		}
	}
	err = server.GenericAPIServer.AddPostStartHook("kube-apiserver-autoregistration", func(ctx genericapiserver.PostStartHookContext) error {
		go r.run(ctx)
		return nil
	})
	if err != nil {
		return err
	}
	return server.GenericAPIServer.AddBootSequenceHealthChecks(completion(pending, informer.Informer()))
}

func (r *registration) run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), r.synced) {
		return
	}
	// The controller deletes every APIService it manages and is not told of, so
	// it must not start before extensions has said what there is.
	bounded, cancel := context.WithDeadline(ctx, r.deadline)
	defer cancel()
	state, err := r.extensions.Client.Wait(bounded, handshake.Complete)
	if err == nil {
		r.sync(state)
	} else {
		r.recall()
	}
	go r.registrar.Run(5, ctx.Done())
	for ctx.Err() == nil {
		state, changed := r.extensions.Client.State()
		if handshake.Complete(state) {
			r.sync(state)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (r *registration) sync(state handshake.State) {
	now := sets.New[string]()
	for _, served := range state.Routes.GetGroupVersions() {
		gv := metav1.GroupVersion{Group: served.GetGroup(), Version: served.GetVersion()}
		if r.builtins.Has(serviceName(gv)) {
			continue // a CRD in a group version that core serves
		}
		now.Insert(serviceName(gv))
		if !r.desired.Has(serviceName(gv)) {
			r.add(gv)
		}
	}
	for name := range r.desired.Difference(now) {
		r.registrar.RemoveAPIServiceToSync(name)
	}
	r.desired = now
}

// recall registers what an earlier life registered for extensions, so that
// nothing of it is deleted while extensions cannot say what there is.
func (r *registration) recall() {
	for _, gv := range remembered(r.services) {
		r.add(gv)
		r.desired.Insert(serviceName(gv))
	}
	klog.InfoS("Extensions is away: keeping its APIServices", "count", r.desired.Len())
}

// add has gv registered: the group of CRDs once, as upstream does with what is
// built in, so that a user may change it; the groups of CRDs for as long as they
// are served, for what is synced on start alone is never deleted.
func (r *registration) add(gv metav1.GroupVersion) {
	if gv.Group == definitions {
		r.registrar.AddAPIServiceToSyncOnStart(apiService(gv, builtIn[gv]))
		return
	}
	r.registrar.AddAPIServiceToSync(apiService(gv, customResources))
}

// remembered are the group versions that were registered for extensions: its
// own, and those of CRDs.
func remembered(services listers.APIServiceLister) []metav1.GroupVersion {
	all, err := services.List(labels.Everything())
	if err != nil {
		return nil // a lister over memory does not fail
	}
	var out []metav1.GroupVersion
	for _, s := range all {
		managed := s.Labels[autoregister.AutoRegisterManagedLabel]
		if managed == "true" || (managed == "onstart" && s.Spec.Group == definitions) {
			out = append(out, metav1.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version})
		}
	}
	return out
}

func serviceName(gv metav1.GroupVersion) string { return gv.Version + "." + gv.Group }

func apiService(gv metav1.GroupVersion, p priority) *v1.APIService {
	return &v1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: serviceName(gv)},
		Spec: v1.APIServiceSpec{
			Group: gv.Group, Version: gv.Version,
			GroupPriorityMinimum: p.group, VersionPriority: p.version,
		},
	}
}

// listedGroupVersions finds the group versions among the paths of core.
func listedGroupVersions(paths []string) []metav1.GroupVersion {
	var out []metav1.GroupVersion
	for _, path := range paths {
		if path == "/api/v1" {
			out = append(out, metav1.GroupVersion{Version: "v1"})
		}
		rest, ok := strings.CutPrefix(path, "/apis/")
		if group, version, found := strings.Cut(rest, "/"); ok && found && !strings.Contains(version, "/") {
			out = append(out, metav1.GroupVersion{Group: group, Version: version})
		}
	}
	return out
}

// completion is upstream's check of the same name: each of the APIServices named
// in pending has been available once.
func completion(pending sets.Set[string], informer cache.SharedIndexInformer) healthz.HealthChecker {
	var mu sync.Mutex
	observe := func(obj any) {
		s, ok := obj.(*v1.APIService)
		if ok && v1helper.IsAPIServiceConditionTrue(s, v1.Available) {
			mu.Lock()
			defer mu.Unlock()
			pending.Delete(s.Name)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    observe,
		UpdateFunc: func(_, obj any) { observe(obj) },
	})
	if err != nil {
		panic(err) // the informer has not been started, so it cannot have stopped
	}
	return healthz.NamedCheck("autoregister-completion", func(*http.Request) error {
		mu.Lock()
		defer mu.Unlock()
		if pending.Len() > 0 {
			return fmt.Errorf("missing APIService: %v", sets.List(pending))
		}
		return nil
	})
}
