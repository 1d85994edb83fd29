package delegate

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/klog/v2"
	"k8s.io/kube-openapi/pkg/handler3"

	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// OpenAPI returns a handler that serves the OpenAPI documents of the whole API
// and hands everything else to here, the handlers of this process' own server.
// here serves what this process and its APIServices describe; delegates are
// asked for the rest, first come first served where two describe the same path.
// ours tells of which paths below /apis/ ("apis/GROUP/VERSION") this process'
// own description counts even so.
func OpenAPI(here http.Handler, ours func(path string) bool, delegates ...*Delegate) http.Handler {
	v2, v3 := newMerged(here, delegates), &index{here: here, ours: ours, delegates: delegates}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == openAPIV2:
			v2.ServeHTTP(w, r)
		case r.URL.Path == openAPIV3:
			v3.root(w, r)
		case strings.HasPrefix(r.URL.Path, openAPIV3+"/"):
			v3.document(w, r)
		default:
			here.ServeHTTP(w, r)
		}
	})
}

// index lists the OpenAPI v3 documents of all tiers. It asks the tiers for their
// lists whenever it is asked, so a new document is in it as soon as its tier has
// made it.
type index struct {
	here      http.Handler
	ours      func(path string) bool
	delegates []*Delegate
}

type paths map[string]handler3.OpenAPIV3DiscoveryGroupVersion

func (i *index) root(w http.ResponseWriter, r *http.Request) {
	each(i.delegates, func(d *Delegate) { d.openAPI.v3.refresh(r.Context()) })
	if i.unavailable(w, r) {
		return
	}
	here, all := i.own(r), paths{}
	maps.Copy(all, here)
	for _, d := range slices.Backward(i.delegates) {
		maps.Copy(all, d.openAPI.v3.list())
	}
	maps.DeleteFunc(here, func(path string, _ handler3.OpenAPIV3DiscoveryGroupVersion) bool { return !i.ours(path) })
	maps.Copy(all, here)
	body, err := json.Marshal(handler3.OpenAPIV3Discovery{Paths: all})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	http.ServeContent(w, r, openAPIV3, time.Now(), bytes.NewReader(body))
}

// document sends the request to who lists the document. A delegate is asked only
// when those before it do not list it: one that hangs costs nobody else's
// documents any time.
//
// The server of this process counts every request that it gets, so it is sent
// those only that it answers: it is not asked for its list first.
func (i *index) document(w http.ResponseWriter, r *http.Request) {
	path, missing := strings.TrimPrefix(r.URL.Path, openAPIV3+"/"), i.here
	if i.ours(path) {
		answer := responsewriter.NewInMemoryResponseWriter()
		i.here.ServeHTTP(answer, r)
		if answer.RespCode() != http.StatusNotFound {
			give(w, answer)
			return
		}
		missing = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { give(w, answer) })
	}
	for _, d := range i.delegates {
		d.openAPI.v3.refresh(r.Context())
		if _, listed := d.openAPI.v3.list()[path]; listed {
			counted(d.Judged())(w, r)
			return
		}
	}
	if !i.unavailable(w, r) {
		missing.ServeHTTP(w, r) // this server's own, or a 404
	}
}

// answered is an answer in memory.
type answered interface {
	Header() http.Header
	RespCode() int
	Data() []byte
}

func give(w http.ResponseWriter, a answered) {
	maps.Copy(w.Header(), a.Header())
	w.WriteHeader(a.RespCode())
	_, _ = w.Write(a.Data())
}

// unavailable answers 503 if core has never told what it lists: what is missing
// then is not known to be none. Extensions may be unable to start, and is done
// without.
func (i *index) unavailable(w http.ResponseWriter, r *http.Request) bool {
	for _, d := range i.delegates {
		if d.Tier == tier.Core && !d.openAPI.v3.known() {
			serving.Unavailable(w, r, "the core tier is away")
			return true
		}
	}
	return false
}

// own returns what this process' own server lists.
func (i *index) own(r *http.Request) paths {
	own := r.Clone(r.Context())
	own.Method, own.URL.Path, own.URL.RawPath, own.Header = http.MethodGet, openAPIV3, "", http.Header{}
	answer := responsewriter.NewInMemoryResponseWriter()
	i.here.ServeHTTP(answer, own)
	if answer.RespCode() != http.StatusOK {
		return paths{}
	}
	return read(answer.Data())
}

// list is the copy of a list of documents, which nobody must change. It is read once
// and not for each request.
func (d *document) list() paths {
	d.mu.Lock()
	etag, known := d.etag, d.paths
	d.mu.Unlock()
	if known != nil {
		return known
	}
	now, body := d.held()
	list := read(body)
	d.mu.Lock()
	defer d.mu.Unlock()
	if body != nil && etag == now && d.etag == now && now != "" {
		d.paths = list
	}
	return list
}

func read(body []byte) paths {
	if body == nil {
		return paths{}
	}
	root := handler3.OpenAPIV3Discovery{}
	if err := json.Unmarshal(body, &root); err != nil {
		klog.ErrorS(err, "Cannot read a list of OpenAPI documents")
	}
	if root.Paths == nil {
		return paths{}
	}
	return root.Paths
}

// counted counts the requests for documents as upstream's aggregator would; what
// it serves itself it has counted.
func counted(handler http.Handler) http.HandlerFunc {
	return metrics.InstrumentHandlerFunc(http.MethodGet, "", "", "", "openapi/v3/", "", "", false, "", handler.ServeHTTP)
}
