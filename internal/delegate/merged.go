package delegate

import (
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/util/responsewriter"

	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// forgetAfter is how long the merged OpenAPI v2 document is kept after the last
// request for it. kubectl asks for it a few times in a row, if ever; between such
// bursts it is some ninety megabytes for nothing.
const forgetAfter = time.Minute

// merged serves the OpenAPI v2 document of the whole API, which upstream merges
// when it is asked for, and gives the memory back when nobody asks.
//
// Upstream's merger keeps, for good, the first document each delegate gave it and
// the first result, and the newest of both. So the first is made an empty one,
// just before the merger is first needed, and later the newest is replaced by an
// empty one again. Meanwhile no request is let in.
type merged struct {
	upstream  http.Handler
	delegates []*Delegate
	after     time.Duration

	mu     sync.RWMutex // held for reading by requests
	first  sync.Once
	forget *time.Timer
	freed  func()
}

func newMerged(upstream http.Handler, delegates []*Delegate) *merged {
	m := &merged{upstream: upstream, delegates: delegates, after: forgetAfter, freed: debug.FreeOSMemory}
	m.forget = time.AfterFunc(m.after, m.giveBack)
	m.forget.Stop() // until there is something to forget
	return m
}

// ServeHTTP implements http.Handler.
func (m *merged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.first.Do(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.mergeNothing()
	})
	m.mu.RLock()
	defer m.mu.RUnlock()
	defer m.forget.Reset(m.after)
	each(m.delegates, func(d *Delegate) { d.openAPI.v2.refresh(r.Context()) })
	for _, d := range m.delegates {
		// A document without extensions' part is what there is while extensions
		// cannot start; without core's it would be none.
		if d.Tier == tier.Core && !d.openAPI.v2.known() {
			serving.Unavailable(w, r, "the core tier is away")
			return
		}
	}
	m.upstream.ServeHTTP(w, r)
}

// giveBack forgets the document, unless it is being sent.
func (m *merged) giveBack() {
	if !m.mu.TryLock() {
		m.forget.Reset(m.after)
		return
	}
	m.mergeNothing()
	m.mu.Unlock()
	m.freed()
}

// mergeNothing has upstream merge empty documents, in every encoding it keeps.
func (m *merged) mergeNothing() {
	for _, d := range m.delegates {
		d.openAPI.withheld.Store(true)
		defer d.openAPI.withheld.Store(false)
	}
	for _, encoding := range []string{"application/json", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"} {
		r, err := http.NewRequest(http.MethodGet, openAPIV2, nil)
		if err != nil {
			panic(err) // the path is a constant
		}
		r.Header.Set("Accept", encoding)
		m.upstream.ServeHTTP(responsewriter.NewInMemoryResponseWriter(), r)
	}
}

// each calls f for all delegates side by side.
func each(delegates []*Delegate, f func(*Delegate)) {
	var all sync.WaitGroup
	for _, d := range delegates {
		all.Go(func() { f(d) })
	}
	all.Wait()
}
