// Package rights tells how old what a tier knows of roles and bindings is. Head
// and extensions authorize by informers that core feeds. In one process the feed
// cannot be cut; here it can, and the informers then say nothing of it.
package rights

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// path is the prefix of the resources that rights are made of.
const path = "/apis/rbac.authorization.k8s.io/v1/"

var resources = []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"}

// Feed follows the watches by which a tier learns of rights. What it knows is
// current as long as each of them is open and core answers.
type Feed struct {
	mu      sync.Mutex
	maxAge  time.Duration
	open    map[string]int
	proven  time.Time
	changed chan struct{}
}

// NewFeed returns a feed without a bound.
func NewFeed() *Feed {
	return &Feed{open: map[string]int{}, changed: make(chan struct{}, 1)}
}

// Wrap returns a round tripper that notes the watches among what goes through it.
func (f *Feed) Wrap(next http.RoundTripper) http.RoundTripper { return &tripper{f, next} }

// Err returns nil while what is known of rights is as current as the bound wants,
// and else says how old it is. It is asked for every request.
func (f *Feed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch age := time.Since(f.proven); {
	case f.maxAge == 0 || age <= f.maxAge:
		return nil
	case f.proven.IsZero():
		return fmt.Errorf("core has not told of roles and bindings yet")
	default:
		return fmt.Errorf("core has not told of roles and bindings for %v", age.Round(time.Second))
	}
}

// longest is how rarely core is asked.
const longest = 5 * time.Second

// Follow bounds the age of what is known and proves, until ctx ends, that it is
// current. ping returns nil if core answers.
func (f *Feed) Follow(ctx context.Context, maxAge time.Duration, ping func(context.Context) error) {
	f.mu.Lock()
	f.maxAge = maxAge
	f.mu.Unlock()
	if maxAge == 0 {
		return
	}
	go f.follow(ctx, min(maxAge/4, longest), ping)
}

func (f *Feed) follow(ctx context.Context, pause time.Duration, ping func(context.Context) error) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		f.prove(ctx, pause, ping)
		select {
		case <-tick.C:
		case <-f.changed: // a tier that starts is ready the sooner
		case <-ctx.Done():
			return
		}
	}
}

// prove asks core. What it answers vouches for the moment of the question, if the
// watches were open then and still are.
func (f *Feed) prove(ctx context.Context, timeout time.Duration, ping func(context.Context) error) {
	asked := time.Now()
	if !f.whole() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if ping(ctx) != nil || !f.whole() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proven = asked
}

// whole tells whether every resource is watched.
func (f *Feed) whole() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, resource := range resources {
		if f.open[resource] == 0 {
			return false
		}
	}
	return true
}

func (f *Feed) count(resource string, change int) {
	f.mu.Lock()
	f.open[resource] += change
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

type tripper struct {
	feed *Feed
	next http.RoundTripper
}

// WrappedRoundTripper lets client-go find the transport.
func (t *tripper) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t *tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(r)
	resource, ours := strings.CutPrefix(r.URL.Path, path)
	if err != nil || !ours || answer.StatusCode != http.StatusOK || r.URL.Query().Get("watch") == "" {
		return answer, err
	}
	t.feed.count(resource, 1)
	answer.Body = &body{ReadCloser: answer.Body, ended: sync.OnceFunc(func() { t.feed.count(resource, -1) })}
	return answer, nil
}

// body is that of a watch.
type body struct {
	io.ReadCloser
	ended func()
}

// Read implements io.Reader. An error is the end of the watch, whoever closes it.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended()
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.ended()
	return b.ReadCloser.Close()
}
