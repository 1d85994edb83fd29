package delegate

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/tier"
)

const (
	// fetchTimeout bounds one fetch of a discovery document.
	fetchTimeout = 10 * time.Second
	// fetchRetry is the pause after one that failed. Nothing else would bring the
	// next: a tier announces a change once.
	fetchRetry = time.Second
)

// Source says as what a group version is entered in the discovery manager, and
// with which priorities.
type Source struct {
	Manager                        aggregated.ResourceManager
	GroupPriority, VersionPriority int
}

// Feed keeps the groups of a delegate in a discovery manager: as they are told
// while it lives, Stale while it is away, and never dropped because it is.
type Feed struct {
	delegate *Delegate
	source   func(metav1.GroupVersion) Source
	known    map[metav1.GroupVersion]apidiscoveryv2.APIVersionDiscovery
	stale    bool
	// incarnation and generation of the document that was entered last.
	incarnation string
	generation  uint64
	entered     chan struct{}
	once        sync.Once
	// whole is closed when a complete document was entered.
	whole     chan struct{}
	wholeOnce sync.Once
}

// NewFeed returns a feed for the groups of d. source says where a group version
// goes.
func NewFeed(d *Delegate, source func(metav1.GroupVersion) Source) *Feed {
	return &Feed{
		delegate: d, source: source, entered: make(chan struct{}), whole: make(chan struct{}),
		known: map[metav1.GroupVersion]apidiscoveryv2.APIVersionDiscovery{},
	}
}

// Entered is closed when the manager has what there is to enter at first: what
// the delegate tells, or what was recalled.
func (f *Feed) Entered() <-chan struct{} { return f.entered }

// Whole is closed when the manager has had everything that the delegate serves:
// what it lacks from then on is not there.
func (f *Feed) Whole() <-chan struct{} { return f.whole }

// Recall enters group versions that are known from another life of this process
// as Stale, until the delegate tells more. It is called before Run.
func (f *Feed) Recall(groupVersions []metav1.GroupVersion) {
	for _, gv := range groupVersions {
		f.add(gv, apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessStale})
	}
	f.once.Do(func() { close(f.entered) })
}

// Run feeds until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	for ctx.Err() == nil {
		state, changed := f.delegate.Client.State()
		var again <-chan time.Time
		if err := f.follow(ctx, state); err != nil {
			klog.ErrorS(err, "Cannot fetch discovery", "tier", f.delegate.Tier)
			again = time.After(fetchRetry)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
		}
	}
}

func (f *Feed) follow(ctx context.Context, state handshake.State) error {
	if !state.Connected {
		f.markStale()
		return nil
	}
	if !handshake.At(tier.Prepared)(state) {
		return nil
	}
	routes := state.Routes
	if !f.stale && f.incarnation == routes.GetIncarnation() && f.generation == routes.GetGeneration() {
		return nil
	}
	document := routes.GetGroups()
	if len(document) == 0 { // of a process that does not send it along
		var err error
		if document, err = f.fetch(ctx, routes.GetIncarnation()); err != nil {
			return err
		}
	}
	list := apidiscoveryv2.APIGroupDiscoveryList{}
	if err := json.Unmarshal(document, &list); err != nil {
		return fmt.Errorf("cannot read the discovery document of %s: %w", f.delegate.Tier, err)
	}
	// Until it is complete, a document may lack groups that exist: what is
	// missing from it is still starting, not gone.
	f.enter(list.Items, routes.GetComplete())
	f.incarnation, f.generation = routes.GetIncarnation(), routes.GetGeneration()
	f.once.Do(func() { close(f.entered) })
	if routes.GetComplete() {
		f.wholeOnce.Do(func() { close(f.whole) })
	}
	return nil
}

// fetch returns the document of the given incarnation. The next one, which may
// answer in its place, has not announced how complete its document is.
func (f *Feed) fetch(ctx context.Context, incarnation string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := f.delegate.Client.Discovery(ctx)
	if err != nil {
		return nil, err
	}
	if r.GetIncarnation() != incarnation {
		return nil, fmt.Errorf("the document is of another life of %s", f.delegate.Tier)
	}
	return r.GetGroups(), nil
}

func (f *Feed) enter(groups []apidiscoveryv2.APIGroupDiscovery, complete bool) {
	seen := map[metav1.GroupVersion]bool{}
	for _, group := range groups {
		for _, version := range group.Versions {
			gv := metav1.GroupVersion{Group: group.Name, Version: version.Version}
			seen[gv] = true
			// The manager makes its document anew after each that is added.
			if known, ok := f.known[gv]; !ok || !reflect.DeepEqual(known, version) {
				f.add(gv, version)
			}
		}
	}
	for gv := range f.known {
		if !seen[gv] && complete {
			f.source(gv).Manager.RemoveGroupVersion(gv)
			delete(f.known, gv)
		}
	}
	f.stale = false
}

func (f *Feed) add(gv metav1.GroupVersion, version apidiscoveryv2.APIVersionDiscovery) {
	f.known[gv] = version
	s := f.source(gv)
	s.Manager.AddGroupVersion(gv.Group, version)
	s.Manager.SetGroupVersionPriority(gv, s.GroupPriority, s.VersionPriority)
}

func (f *Feed) markStale() {
	if f.stale {
		return
	}
	f.stale = true
	for gv, version := range f.known {
		version.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
		f.known[gv] = version
		f.source(gv).Manager.AddGroupVersion(gv.Group, version)
	}
}
