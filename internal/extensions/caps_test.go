package extensions

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/tools/cache"
)

// cappedScene is the plugin over CRDs that a test says there are.
type cappedScene struct {
	*capped
	t      *testing.T
	stored cache.Indexer
}

func newCappedScene(t *testing.T, caps Caps) *cappedScene {
	s := &cappedScene{newCapped(caps), t, cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})}
	s.count(listers.NewCustomResourceDefinitionLister(s.stored), func() bool { return true })
	return s
}

func (s *cappedScene) store(name string) {
	if err := s.stored.Add(&v1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		s.t.Fatal(err)
	}
}

// described is a CRD of two versions with the same schema, which describes itself at some length.
func described(name string, length int) *apiextensions.CustomResourceDefinition {
	return &apiextensions.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Versions:   []apiextensions.CustomResourceDefinitionVersion{{Name: "v1"}, {Name: "v2"}},
			Validation: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{Description: strings.Repeat("x", length)}},
		},
	}
}

func (s *cappedScene) ask(operation admission.Operation, now, old *apiextensions.CustomResourceDefinition, subresource string, dryRun bool) error {
	kind, resource := apiextensions.SchemeGroupVersion.WithKind("CustomResourceDefinition"), apiextensions.SchemeGroupVersion.WithResource("customresourcedefinitions")
	if old == nil { // not a nil of the type
		return s.Validate(s.t.Context(), admission.NewAttributesRecord(now, nil, kind, "", now.Name, resource, subresource, operation, nil, dryRun, nil), nil)
	}
	return s.Validate(s.t.Context(), admission.NewAttributesRecord(now, old, kind, "", now.Name, resource, subresource, operation, nil, dryRun, nil), nil)
}

func (s *cappedScene) create(name string) error {
	return s.ask(admission.Create, described(name, 1), nil, "", false)
}

func (s *cappedScene) refused(what string, err error, word string) {
	s.t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), word) {
		s.t.Errorf("%s: got %v, want a 403 with %q", what, err, word)
	}
}

func (s *cappedScene) fine(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

func TestOfManyWritersAsManyPassAsTheCapLeaves(t *testing.T) {
	s := newCappedScene(t, Caps{Definitions: 10})
	for i := range 3 {
		s.store(fmt.Sprint("there", i))
	}
	var passed atomic.Int64
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			if s.create(fmt.Sprint("new", i)) == nil {
				passed.Add(1)
				if i%2 == 0 {
					s.store(fmt.Sprint("new", i)) // half of them are seen already
				}
			}
		})
	}
	wait.Wait()
	if passed.Load() != 7 {
		t.Errorf("%d passed, want 7", passed.Load())
	}
	s.refused("one more", s.create("more"), "exceeded --max-custom-resource-definitions=10: there are 10")
	s.fine("one that exists, which is refused elsewhere", s.create("there0"))
}

func TestWhatWasLetPassAndNeverCameCountsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCappedScene(t, Caps{Definitions: 1})
		s.fine("a dry run", s.ask(admission.Create, described("dry", 1), nil, "", true))
		s.fine("the first", s.create("lost"))
		s.refused("the second", s.create("late"), "there are 1")
		s.fine("the first once more", s.create("lost"))
		time.Sleep(pending + time.Second)
		s.fine("the second, later", s.create("late"))
	})
}

func TestNobodyKnowsHowManyCRDsThereAreAtFirst(t *testing.T) {
	s := newCappedScene(t, Caps{Definitions: 1})
	s.count(listers.NewCustomResourceDefinitionLister(s.stored), func() bool { return false })
	if err := s.create("one"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v", err)
	}
}

func TestSchemasAboveTheCapMayNotGrow(t *testing.T) {
	s := newCappedScene(t, Caps{SchemaBytes: 1000})
	s.fine("a small one", s.ask(admission.Create, described("a", 400), nil, "", false))
	s.refused("twice 600", s.ask(admission.Create, described("a", 600), nil, "", true), "exceeded --max-custom-resource-schema-bytes=1000: the schemas of its versions have 12")
	s.fine("no growth", s.ask(admission.Update, described("a", 600), described("a", 600), "", false))
	s.fine("less", s.ask(admission.Update, described("a", 599), described("a", 600), "", false))
	s.fine("growth below the cap", s.ask(admission.Update, described("a", 400), described("a", 1), "", false))
	s.refused("growth", s.ask(admission.Update, described("a", 601), described("a", 600), "", false), "exceeded")
	s.fine("its status", s.ask(admission.Update, described("a", 601), described("a", 600), "status", false))
}

func TestWithoutCapsAdmissionIsAsItWas(t *testing.T) {
	chain := admission.NewChainHandler()
	if newCapped(Caps{}).on(chain) == nil || (&Caps{Definitions: -1}).Validate() == nil {
		t.Error("the chain is gone, or -1 is a cap")
	}
}
