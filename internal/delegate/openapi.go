package delegate

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/klog/v2"
)

const (
	openAPIV2 = "/openapi/v2"
	// openAPIV3 lists the OpenAPI v3 documents there are.
	openAPIV3 = "/openapi/v3"
)

const (
	// followPause keeps a burst of new CRDs from asking for each of them.
	followPause = time.Second
)

// patience is how long a document is waited for. A delegate that dies, or is dead to the
// handshake, ends every wait.
type patience struct {
	// ask bounds one question. A question keeps others from being asked, and the delegate
	// keeps what it began to make for the next one.
	ask time.Duration
	// news bounds a request where there is an older copy: a delegate that hangs costs
	// clients that much, and no more. first is the same without a copy.
	news, first time.Duration
}

var (
	// listPatience is for what is made in a moment.
	listPatience = patience{ask: 15 * time.Second, news: time.Second, first: 10 * time.Second}
	// mergedPatience is for version 2: with thousands of CRDs it is work for half a minute, and without
	// them it would be a document like any other. It is within the timeout of a request.
	mergedPatience = patience{ask: 55 * time.Second, news: 55 * time.Second, first: 55 * time.Second}
)

// document is the copy of one of the delegate's OpenAPI documents. It is asked
// for whenever it is needed, which costs a 304 if nothing has changed; the copy
// serves while the delegate is away, or starts and lacks what it does not serve
// yet.
type document struct {
	path     string
	patience patience
	ask      http.Handler
	complete func() bool

	mu     sync.Mutex
	etag   string
	body   []byte        // gzipped, if the delegate says so: version 2 has megabytes
	zipped bool          // whether body is
	paths  paths         // of a list of documents, read from body when asked for
	asking chan struct{} // closed when the question under way is answered, nil if there is none
}

// refresh has the copy be what the delegate says now, unless it does not say so
// in time.
func (d *document) refresh(ctx context.Context) {
	d.mu.Lock()
	bound := d.patience.news
	if d.body == nil {
		bound = d.patience.first
	}
	if d.asking == nil {
		d.asking = make(chan struct{})
		// It is asked for everybody who waits: no one client's end ends it.
		go d.fetch(d.etag)
	}
	asked := d.asking
	d.mu.Unlock()

	soon := time.NewTimer(bound)
	defer soon.Stop()
	select {
	case <-asked:
	case <-soon.C:
	case <-ctx.Done():
	}
}

func (d *document) fetch(etag string) {
	answer := responsewriter.NewInMemoryResponseWriter()
	ctx, cancel := context.WithTimeout(context.Background(), d.patience.ask)
	defer cancel()
	defer d.asked()
	d.ask.ServeHTTP(answer, d.question(ctx, etag))

	d.mu.Lock()
	defer d.mu.Unlock()
	// What a starting delegate lacks is not gone.
	if answer.RespCode() == http.StatusOK && (d.body == nil || d.complete()) {
		d.etag, d.body, d.paths = answer.Header().Get("ETag"), bytes.Clone(answer.Data()), nil
		d.zipped = answer.Header().Get("Content-Encoding") == "gzip"
	}
}

// asked ends the question under way.
func (d *document) asked() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.asking)
	d.asking = nil
}

// question asks as the user by which upstream's aggregator downloads. The
// request was judged where it is made, so that user needs no rights.
func (d *document) question(ctx context.Context, etag string) *http.Request {
	ctx = request.WithUser(ctx, &user.DefaultInfo{Name: "system:aggregator"})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.path, nil)
	if err != nil {
		panic(err) // paths are constants
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Encoding", "gzip")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	return r
}

// held returns the copy, nil if there is none.
func (d *document) held() (etag string, body []byte) {
	d.mu.Lock()
	etag, body, zipped := d.etag, d.body, d.zipped
	d.mu.Unlock()
	if !zipped {
		return etag, body
	}
	plain, err := unzip(body)
	if err != nil {
		klog.ErrorS(err, "Cannot read a document of another tier", "path", d.path)
		d.forget()
		return "", nil
	}
	return etag, plain
}

// tag is the ETag of the copy, empty if it has none.
func (d *document) tag() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.etag
}

// forget drops the copy, so that the delegate does not answer that nothing has
// changed.
func (d *document) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.etag, d.body, d.zipped, d.paths = "", nil, false, nil
}

func (d *document) known() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.body != nil
}

// recall has body be the copy, unless the delegate has told better.
func (d *document) recall(body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.body == nil || !d.complete() {
		d.etag, d.body, d.zipped, d.paths = "", body, false, nil
	}
}

func unzip(data []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// documents are those of a delegate that are merged with others'.
type documents struct {
	v2, v3 *document
	// withheld has upstream's merger see an empty document in place of v2.
	withheld atomic.Bool
}

func newDocuments(ask http.Handler, complete func() bool) *documents {
	return &documents{
		v2: &document{path: openAPIV2, patience: mergedPatience, ask: ask, complete: complete},
		v3: &document{path: openAPIV3, patience: listPatience, ask: ask, complete: complete},
	}
}

// FollowOpenAPI asks for the delegate's list of OpenAPI v3 documents whenever it
// announces a change, until ctx ends. Clients' requests ask as well: this has the
// delegate make new documents before the first client waits for them, as it
// would in one process.
func (d *Delegate) FollowOpenAPI(ctx context.Context) {
	var seen uint64
	var incarnation string
	for ctx.Err() == nil {
		state, changed := d.Client.State()
		routes := state.Routes
		if state.Connected && (routes.GetGeneration() != seen || routes.GetIncarnation() != incarnation) && d.Client.Available() == nil {
			seen, incarnation = routes.GetGeneration(), routes.GetIncarnation()
			d.openAPI.v3.refresh(ctx)
			select {
			case <-time.After(followPause):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// serveUpstream answers what upstream's mergers ask of the delegate, from memory.
// The list of v3 documents is empty, because OpenAPI puts the delegate's in
// itself: upstream asks every second, and never again after a 404.
func (o *documents) serveUpstream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == openAPIV3 {
		_, _ = io.WriteString(w, `{"paths":{}}`)
		return
	}
	etag, body := o.forMerging(r.Header.Get("If-None-Match"))
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	if body == nil {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(body)
}

// forMerging is the document as it is to be merged, without a body if its ETag is the known one:
// upstream asks with each request of a client, and the copy would be unzipped for nothing.
func (o *documents) forMerging(known string) (etag string, body []byte) {
	if !o.withheld.Load() {
		if etag = o.v2.tag(); etag != "" && etag == known {
			return etag, nil
		}
		if etag, body = o.v2.held(); body != nil {
			return etag, body
		}
	}
	etag = `"empty"`
	if etag == known {
		return etag, nil
	}
	return etag, []byte(`{"swagger":"2.0","paths":{}}`)
}
