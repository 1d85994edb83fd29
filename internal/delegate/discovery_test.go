package delegate

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

const (
	current = apidiscoveryv2.DiscoveryFreshnessCurrent
	stale   = apidiscoveryv2.DiscoveryFreshnessStale
)

// freshness is a discovery document in short.
type freshness map[string]apidiscoveryv2.DiscoveryFreshness

func (e *extensions) feed() (*Feed, func() freshness) {
	manager := aggregated.NewResourceManager("apis")
	feed := NewFeed(e.Delegate, func(metav1.GroupVersion) Source { return Source{manager, 1000, 100} })
	return feed, func() freshness {
		e.t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/apis", nil)
		r.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		list := apidiscoveryv2.APIGroupDiscoveryList{}
		if err := json.Unmarshal(call(manager, r).Body.Bytes(), &list); err != nil {
			e.t.Fatal(err)
		}
		got := freshness{}
		for _, group := range list.Items {
			for _, version := range group.Versions {
				got[group.Name+"/"+version.Version] = version.Freshness
			}
		}
		return got
	}
}

// tell has the process serve groups from now on, and feeds what is known then.
func (e *extensions) tell(l *life, feed *Feed, complete bool, groups ...string) {
	e.t.Helper()
	list := apidiscoveryv2.APIGroupDiscoveryList{}
	routes := &handshakev1.RoutesResponse{Complete: complete}
	for _, name := range groups {
		list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Versions:   []apidiscoveryv2.APIVersionDiscovery{{Version: "v1", Freshness: current}},
		})
		routes.GroupVersions = append(routes.GroupVersions, &handshakev1.GroupVersion{Group: name, Version: "v1"})
	}
	document, err := json.Marshal(list)
	if err != nil {
		e.t.Fatal(err)
	}
	l.SetDiscovery(func() ([]byte, error) { return document, nil })
	l.Publish(routes)
	l.Reach(tier.Prepared)
	feed.follow(e.t.Context(), e.wait("the announcement", func(s handshake.State) bool {
		return handshake.At(tier.Prepared)(s) && s.Routes.GetGeneration() == routes.GetGeneration()
	}))
}

func wantFreshness(t *testing.T, when string, got, want freshness) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", when, got, want)
	}
}

func TestGroupsOfALostDelegateAreStaleAndNeverDropped(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	feed, document := e.feed()
	first := e.live("first")
	e.tell(first, feed, true, "one.org", "two.org")
	wantFreshness(t, "while it lives", document(), freshness{"one.org/v1": current, "two.org/v1": current})

	feed.follow(t.Context(), e.lose(first))
	wantFreshness(t, "while it is away", document(), freshness{"one.org/v1": stale, "two.org/v1": stale})

	second := e.live("second")
	// What it says now is nothing, and what is known to be complete was the first's.
	second.SetDiscovery(func() ([]byte, error) { return []byte("{}"), nil })
	feed.follow(t.Context(), e.wait("the second life", func(s handshake.State) bool { return s.Connected }))
	wantFreshness(t, "while it starts", document(), freshness{"one.org/v1": stale, "two.org/v1": stale})
	e.tell(second, feed, false, "one.org")
	wantFreshness(t, "while not all is told", document(), freshness{"one.org/v1": current, "two.org/v1": stale})
	e.tell(second, feed, true, "one.org", "two.org")
	wantFreshness(t, "when it is back", document(), freshness{"one.org/v1": current, "two.org/v1": current})
}

// The connection broke, and the process is the same that it was.
func TestGroupsAreCurrentAgainWhenTheSameProcessIsBack(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	feed, document := e.feed()
	e.tell(e.live("first"), feed, true, "one.org")
	state, _ := e.Client.State()
	feed.follow(t.Context(), handshake.State{Description: state.Description, Routes: state.Routes})
	wantFreshness(t, "while it is away", document(), freshness{"one.org/v1": stale})
	feed.follow(t.Context(), state)
	wantFreshness(t, "when it is back", document(), freshness{"one.org/v1": current})
}

func TestAGroupIsRemovedOnlyByACompleteAnnouncement(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	feed, document := e.feed()
	l := e.live("first")
	e.tell(l, feed, true, "one.org", "two.org")
	e.tell(l, feed, false, "one.org")
	wantFreshness(t, "incomplete", document(), freshness{"one.org/v1": current, "two.org/v1": current})
	e.tell(l, feed, true, "one.org")
	wantFreshness(t, "complete", document(), freshness{"one.org/v1": current})
}

func TestGroupsOfAnEarlierLifeAreRecalledAsStale(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	feed, document := e.feed()
	feed.Recall([]metav1.GroupVersion{{Group: "one.org", Version: "v1"}, {Group: "gone.org", Version: "v1"}})
	wantFreshness(t, "recalled", document(), freshness{"one.org/v1": stale, "gone.org/v1": stale})
	e.tell(e.live("first"), feed, true, "one.org")
	wantFreshness(t, "told", document(), freshness{"one.org/v1": current})
}

func TestADocumentThatCannotBeHadChangesNothing(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	feed, document := e.feed()
	l := e.live("first")
	e.tell(l, feed, true, "one.org")
	l.SetDiscovery(func() ([]byte, error) { return []byte("no document"), nil })
	l.Publish(&handshakev1.RoutesResponse{Complete: true})
	state := e.wait("the announcement", func(s handshake.State) bool { return s.Routes.GetGeneration() == 2 })
	feed.follow(t.Context(), state)
	wantFreshness(t, "unreadable", document(), freshness{"one.org/v1": current})
	// It is asked for again, since nothing of the generation was entered.
	list, err := json.Marshal(apidiscoveryv2.APIGroupDiscoveryList{})
	if err != nil {
		t.Fatal(err)
	}
	l.SetDiscovery(func() ([]byte, error) { return list, nil })
	feed.follow(t.Context(), state)
	wantFreshness(t, "readable", document(), freshness{})
}

// The next incarnation may answer before it has read what it serves: taken for
// the whole, its document would drop groups that exist.
func TestADocumentOfAnotherLifeIsAFailedFetch(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	l := e.live("first")
	feed, _ := e.feed()
	e.tell(l, feed, true, "one.org")
	if _, err := feed.fetch(t.Context(), "first"); err != nil {
		t.Error(err)
	}
	if _, err := feed.fetch(t.Context(), "another"); err == nil {
		t.Error("it was taken")
	}
	e.lose(l)
}

// A core behind a head has no use for documents that are as long as there are
// CRDs; one that is the head itself has.
func TestTheHeadGetsTheDocumentWithTheAnnouncement(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	l := e.live("first")
	for _, of := range []struct {
		head, name tier.Name
		want       string
	}{
		{tier.Aggregator, tier.Aggregator, "document"},
		{tier.Aggregator, tier.Core, ""},
		{tier.Core, tier.Core, "document"},
	} {
		d := e.seenIn(of.head, of.name)
		l.Publish(&handshakev1.RoutesResponse{Groups: []byte("document")})
		state, err := d.Client.Wait(t.Context(), func(s handshake.State) bool { return s.Routes != nil })
		if got := string(state.Routes.GetGroups()); err != nil || got != of.want {
			t.Errorf("%s behind %s: got %q, %v, want %q", of.name, of.head, got, err, of.want)
		}
	}
}

// In direct mode core feeds its discovery as a head does, from what it was told.
func TestDirectModeAsksNoSecondQuestion(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	e.Delegate = e.seenIn(tier.Core, tier.Core)
	feed, document := e.feed()
	l := e.live("first")
	l.SetDiscovery(func() ([]byte, error) { return nil, errors.New("it was asked for") })
	l.Publish(&handshakev1.RoutesResponse{
		Complete: true, Groups: []byte(`{"items":[{"metadata":{"name":"one.org"},"versions":[{"version":"v1","freshness":"Current"}]}]}`),
	})
	l.Reach(tier.Prepared)
	if err := feed.follow(t.Context(), e.wait("what is served", handshake.Complete)); err != nil {
		t.Error(err)
	}
	wantFreshness(t, "as it was told", document(), freshness{"one.org/v1": current})
}

func TestADocumentThatCameAlongIsNotAskedFor(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	feed, document := e.feed()
	l := e.live("first")
	e.tell(l, feed, true, "one.org")
	l.SetDiscovery(func() ([]byte, error) { return nil, errors.New("it was asked for") })
	state, _ := e.Client.State()
	state.Routes = &handshakev1.RoutesResponse{
		Incarnation: "first", Generation: 2, Complete: true,
		Groups: []byte(`{"items":[{"metadata":{"name":"two.org"},"versions":[{"version":"v1","freshness":"Current"}]}]}`),
	}
	if err := feed.follow(t.Context(), state); err != nil {
		t.Error(err)
	}
	wantFreshness(t, "when it came along", document(), freshness{"two.org/v1": current})
}

// Each that is entered again has the manager make its document anew.
func TestWhatIsUnchangedIsNotEnteredAgain(t *testing.T) {
	e := newExtensions(t, http.NotFoundHandler())
	feed, document := e.feed()
	var entered []string
	source := feed.source
	feed.source = func(gv metav1.GroupVersion) Source { entered = append(entered, gv.Group); return source(gv) }
	l := e.live("first")
	e.tell(l, feed, true, "one.org")
	e.tell(l, feed, true, "one.org", "two.org")
	if want := []string{"one.org", "two.org"}; !slices.Equal(entered, want) {
		t.Errorf("entered %q, want %q", entered, want)
	}
	feed.follow(t.Context(), e.lose(l))
	e.tell(e.live("second"), feed, true, "one.org", "two.org")
	wantFreshness(t, "when it is back", document(), freshness{"one.org/v1": current, "two.org/v1": current})
}
