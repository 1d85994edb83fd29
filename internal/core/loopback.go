package core

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/router"
	"triptych.dev/triptych/internal/tier"
)

// loopback is what core's calls to itself become of when they are about more
// than core. In one process they saw the API as a whole: parameters of policies
// may be of custom or aggregated kinds, and a webhook may be an API that is
// served behind kubernetes.default.svc. So what core does not serve is asked of
// the head. What it does serve is asked of core itself, which starts before the
// head and must not depend on it. In direct mode core is the head, and nothing is
// split.
//
// Admission cannot do without discovery, not even for built-in kinds, and the head
// becomes ready only after core. So before the head has told what there is for
// the first time, core's own document has to do.
type loopback struct {
	head http.RoundTripper
	// available tells why the head cannot be asked, nil when it can. A call to a
	// head that is away would wait in the backlog of its socket.
	available func() error
	// told is whether the head has said what there is.
	told atomic.Bool
	// address is the head's private listener.
	address string
	table   atomic.Pointer[router.Table]
}

// split has clients of own, which reach core, reach the head by whole for what
// core does not serve. available is the head's.
func (l *loopback) split(own, whole *rest.Config, available func() error) error {
	l.available = available
	u, err := url.Parse(whole.Host)
	if err != nil {
		return fmt.Errorf("cannot make a client for the whole API: %w", err)
	}
	l.address = u.Host
	if l.head, err = rest.TransportFor(whole); err != nil {
		return fmt.Errorf("cannot make a client for the whole API: %w", err)
	}
	own.Wrap(func(core http.RoundTripper) http.RoundTripper { return &splitTransport{core: core, loopback: l} })
	return nil
}

// follow makes listed, the paths of core, those that stay here. Before it is
// known what core serves, everything does.
func (l *loopback) follow(listed []string) {
	l.table.Store(&router.Table{
		Self: tier.Aggregator, Own: []string{"/openapi", "/readyz"},
		Legacy: tier.Core, OtherGroups: tier.Aggregator, OtherPaths: tier.Core,
		GroupVersions: ownGroupVersions(listed),
	})
}

// leaves tells whether a request for path is for the head.
func (l *loopback) leaves(path string) bool {
	table := l.table.Load()
	return table != nil && table.Owner(path) != tier.Core
}

// splitTransport is the transport of one client of core's own.
type splitTransport struct {
	core     http.RoundTripper
	loopback *loopback
}

// RoundTrip implements http.RoundTripper.
func (t *splitTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case !t.loopback.leaves(r.URL.Path):
		return t.core.RoundTrip(r)
	case isDiscovery(r):
		return t.discover(r)
	}
	return t.loopback.ask(r)
}

// discover asks the head which APIs there are, and core as long as the head has
// never said.
func (t *splitTransport) discover(r *http.Request) (*http.Response, error) {
	answer, err := t.loopback.ask(r)
	switch {
	case err == nil && answer.StatusCode != http.StatusServiceUnavailable:
		t.loopback.told.Store(true)
		return answer, nil
	case t.loopback.told.Load():
		return answer, err
	}
	if err == nil {
		answer.Body.Close()
	}
	return t.core.RoundTrip(r)
}

// isDiscovery tells whether r asks which APIs there are; it then has no body.
func isDiscovery(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.TrimSuffix(r.URL.Path, "/") == "/apis"
}

// ask sends r to the head. As a http.RoundTripper must, it leaves r as it is.
func (l *loopback) ask(r *http.Request) (*http.Response, error) {
	if err := l.available(); err != nil {
		return nil, fmt.Errorf("cannot ask the head: %w", err)
	}
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = l.address, ""
	return l.head.RoundTrip(r)
}

// WrappedRoundTripper implements k8s.io/apimachinery/pkg/util/net.RoundTripperWrapper.
func (t *splitTransport) WrappedRoundTripper() http.RoundTripper { return t.core }
