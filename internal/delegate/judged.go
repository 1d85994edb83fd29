package delegate

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"

	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/util/responsewriter"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/serving"
)

// endOfChain is the handler at the end of this process' own chain: what upstream
// calls with a request that its server does not know, and to download OpenAPI.
// Such a request has been through the chain, so the delegate must not audit and
// authorize it again. Requests of clients that another tier serves do not get
// here, the router takes them before the chain.
func (d *Delegate) endOfChain() http.Handler {
	forward := d.Judged()
	download := inMemory(forward)
	root := &remembered{handler: download}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == openAPIRoot:
			root.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/openapi/"):
			download.ServeHTTP(w, r)
		default:
			forward.ServeHTTP(w, r)
		}
	})
}

// Judged forwards an authenticated request that needs no judging where it is
// served.
func (d *Delegate) Judged() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := serving.Asking(r)
		id.Judged = true
		r = r.Clone(r.Context())
		if err == nil {
			err = identity.Stamp(r.Header, id)
		}
		if err != nil {
			responsewriters.InternalError(w, r, err)
			return
		}
		d.forwarder.ServeHTTP(w, r)
	})
}

// openAPIRoot lists the OpenAPI v3 documents there are.
const openAPIRoot = "/openapi/v3"

// remembered answers with the last good answer while there is no new one.
//
// Upstream's aggregator asks each delegate for its OpenAPI root at start and
// every second. A failure makes it ask ever less often, up to an hour apart, and
// a 404 makes it never ask again: the schemas of custom resources would be gone
// long after extensions is back.
type remembered struct {
	handler http.Handler

	mu     sync.Mutex
	header http.Header
	body   []byte
}

func (m *remembered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := responsewriter.NewInMemoryResponseWriter()
	m.handler.ServeHTTP(answer, r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if answer.RespCode() == http.StatusOK {
		m.header, m.body = answer.Header().Clone(), bytes.Clone(answer.Data())
	}
	if m.body == nil {
		m.header, m.body = http.Header{"Content-Type": {"application/json"}}, []byte(`{"paths":{}}`)
	}
	maps.Copy(w.Header(), m.header)
	_, _ = w.Write(m.body)
}

// inMemory turns an answer that breaks off into one that failed: upstream's
// downloaders run in goroutines where nothing recovers.
func inMemory(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := responsewriter.NewInMemoryResponseWriter()
		if err := complete(handler, answer, r); err != nil {
			responsewriters.InternalError(w, r, err)
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.RespCode())
		_, _ = w.Write(answer.Data())
	})
}

func complete(handler http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the answer to %s broke off: %v", r.URL.Path, p)
		}
	}()
	handler.ServeHTTP(w, r)
	return nil
}
