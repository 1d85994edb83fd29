package delegate

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/handler3"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

// tells is a delegate's handler whose documents and answer can be changed.
type tells struct {
	mu        sync.Mutex
	code      int
	documents map[string]string
	asked     []string // path and what was shown as If-None-Match
}

func (h *tells) say(path, document string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.documents == nil {
		h.documents = map[string]string{}
	}
	h.documents[path] = document
}

func (h *tells) fail(code int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.code = code
}

// questions returns what was asked since the last call.
func (h *tells) questions() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.asked = nil }()
	return h.asked
}

func (h *tells) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("If-None-Match")))
	document, known := h.documents[r.URL.Path]
	etag := fmt.Sprintf(`"%d-%s"`, len(document), document[:min(len(document), 1)])
	switch {
	case h.code != 0:
		w.WriteHeader(h.code)
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	case r.URL.Path == openAPIV2 && r.Header.Get("Accept-Encoding") == "gzip":
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		fmt.Fprint(zip, document)
		zip.Close()
	default:
		w.Header().Set("ETag", etag)
		fmt.Fprint(w, document)
	}
}

func listing(t *testing.T, names ...string) string {
	t.Helper()
	root := handler3.OpenAPIV3Discovery{Paths: paths{}}
	for _, name := range names {
		root.Paths[name] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: openAPIV3 + "/" + name}
	}
	body, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// listed returns the paths that handler lists.
func listed(t *testing.T, handler http.Handler) []string {
	t.Helper()
	w := call(handler, asJane(openAPIV3))
	root := handler3.OpenAPIV3Discovery{}
	if err := json.Unmarshal(w.Body.Bytes(), &root); err != nil || w.Code != http.StatusOK {
		t.Fatalf("got %d %s: %v", w.Code, w.Body, err)
	}
	return slices.Sorted(maps.Keys(root.Paths))
}

func wantListed(t *testing.T, when string, handler http.Handler, want ...string) {
	t.Helper()
	if got := listed(t, handler); !slices.Equal(got, want) {
		t.Errorf("%s: lists %q, want %q", when, got, want)
	}
}

func nothingHere(string) bool { return false }

// whole is the handler of a process that serves documents of its own and those
// of e.
func (e *extensions) whole(here *tells) http.Handler {
	return OpenAPI(here, nothingHere, e.Delegate)
}

func newHere(t *testing.T, names ...string) *tells {
	here := &tells{}
	here.say(openAPIV3, listing(t, names...))
	return here
}

func TestDocumentsAreListedAsSoonAsTheDelegateListsThem(t *testing.T) {
	of := &tells{}
	e := newExtensions(t, of)
	of.say(openAPIV3, listing(t, "apis/one.org/v1"))
	whole := e.whole(newHere(t, "apis/apiregistration.k8s.io/v1"))
	l := e.live("first")
	e.prepared(l)
	l.Publish(&handshakev1.RoutesResponse{Complete: true})
	e.wait("its whole announcement", handshake.Complete)
	wantListed(t, "at first", whole, "apis/apiregistration.k8s.io/v1", "apis/one.org/v1")
	etag := of.questions()
	if len(etag) != 1 || etag[0] != openAPIV3 {
		t.Errorf("it asked %q", etag)
	}
	wantListed(t, "unchanged", whole, "apis/apiregistration.k8s.io/v1", "apis/one.org/v1")
	if asked := of.questions(); len(asked) != 1 || asked[0] == openAPIV3 {
		t.Errorf("asked %q: the whole list, though nothing has changed", asked)
	}
	of.say(openAPIV3, listing(t, "apis/one.org/v1", "apis/two.org/v1"))
	wantListed(t, "a moment later", whole, "apis/apiregistration.k8s.io/v1", "apis/one.org/v1", "apis/two.org/v1")
	of.say(openAPIV3, listing(t, "apis/two.org/v1"))
	wantListed(t, "when one is gone", whole, "apis/apiregistration.k8s.io/v1", "apis/two.org/v1")
}

func TestDocumentsOfALostDelegateStayListed(t *testing.T) {
	of := &tells{}
	e := newExtensions(t, of)
	whole := e.whole(newHere(t, "here"))
	wantListed(t, "before it was ever there", whole, "here")
	of.say(openAPIV3, listing(t, "first"))
	l := e.live("first")
	e.prepared(l)
	wantListed(t, "while it is there", whole, "first", "here")
	e.lose(l)
	wantListed(t, "while it is away", whole, "first", "here")
	l = e.live("second")
	e.prepared(l)
	of.say(openAPIV3, listing(t))
	wantListed(t, "while it starts, when it lacks what it does not serve yet", whole, "first", "here")
	l.Publish(&handshakev1.RoutesResponse{Complete: true})
	e.wait("its whole announcement", handshake.Complete)
	for _, code := range []int{http.StatusNotFound, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		of.fail(code)
		wantListed(t, "while it cannot say", whole, "first", "here")
	}
	of.fail(0)
	of.say(openAPIV3, listing(t, "second"))
	wantListed(t, "when it says another thing", whole, "here", "second")
}

func TestWhatAnotherLifeKnewIsListedUntilTheDelegateTells(t *testing.T) {
	of := &tells{}
	of.say(openAPIV3, listing(t))
	e := newExtensions(t, of)
	whole := e.whole(newHere(t))
	recalled := []metav1.GroupVersion{{Group: "example.org", Version: "v1"}}
	e.RecallOpenAPI(recalled)
	wantListed(t, "while it is away", whole, "apis/example.org/v1")
	if w := call(whole, asJane("/openapi/v3/apis/example.org/v1")); w.Code != http.StatusServiceUnavailable {
		t.Errorf("the document while it is away: %d", w.Code)
	}
	l := e.live("first")
	e.prepared(l)
	l.Publish(&handshakev1.RoutesResponse{Complete: true})
	e.wait("its whole announcement", handshake.Complete)
	wantListed(t, "when it tells", whole)
	e.RecallOpenAPI(recalled)
	wantListed(t, "recalled too late", whole)
}

// A hanging delegate costs its documents' readers a moment, and not its own time.
func TestAHangingDelegateDoesNotHoldUpTheList(t *testing.T) {
	end, asked := make(chan struct{}), make(chan struct{}, 9)
	hang := &atomic.Bool{}
	of := &tells{}
	of.say(openAPIV3, listing(t, "one"))
	e := newExtensions(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if hang.Load() {
			<-end
		}
		of.ServeHTTP(w, r)
	}))
	whole := e.whole(newHere(t))
	e.prepared(e.live("first"))
	wantListed(t, "at first", whole, "one")
	hang.Store(true)
	wantListed(t, "while it hangs", whole, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	call(whole, asJane(openAPIV3).WithContext(ctx)) // joins the question that hangs
	if n := len(asked); n != 2 {
		t.Errorf("it was asked %d times: each client adds a question", n)
	}
	close(end)
}

func TestADocumentIsServedByWhoListsIt(t *testing.T) {
	of := &tells{}
	e := newExtensions(t, of)
	e.prepared(e.live("first"))
	here := newHere(t, "apis/both.org/v1", "apis/ours.org/v1", "apis/here.org/v1")
	of.say(openAPIV3, listing(t, "apis/both.org/v1", "apis/ours.org/v1", "apis/there.org/v1"))
	for _, gv := range []string{"both.org", "ours.org", "here.org"} {
		here.say(openAPIV3+"/apis/"+gv+"/v1", "here")
	}
	for _, gv := range []string{"both.org", "ours.org", "there.org"} {
		of.say(openAPIV3+"/apis/"+gv+"/v1", "there")
	}
	whole := OpenAPI(here, func(path string) bool { return path == "apis/ours.org/v1" }, e.Delegate)
	for path, want := range map[string]string{
		"apis/both.org/v1": "there", "apis/ours.org/v1": "here", "apis/here.org/v1": "here", "apis/there.org/v1": "there",
	} {
		if w := call(whole, asJane(openAPIV3+"/"+path)); w.Body.String() != want || w.Code != http.StatusOK {
			t.Errorf("%s: got %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
	for _, path := range []string{"/openapi/v3/apis/nobody.org/v1", "/openapi/v3/"} {
		if w := call(whole, asJane(path)); w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d", path, w.Code)
		}
	}
}

// The server of this process counts what it is asked for.
func TestThisProcessIsAskedWhatItAnswersAlone(t *testing.T) {
	of := &tells{}
	e := newExtensions(t, of)
	e.prepared(e.live("first"))
	of.say(openAPIV3, listing(t, "apis/there.org/v1"))
	of.say(openAPIV3+"/apis/there.org/v1", "there")
	here := newHere(t, "apis/ours.org/v1", "apis/here.org/v1")
	here.say(openAPIV3+"/apis/ours.org/v1", "here")
	here.say(openAPIV3+"/apis/here.org/v1", "here")
	asked := 0
	whole := OpenAPI(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		here.ServeHTTP(w, r)
	}), func(path string) bool { return strings.HasPrefix(path, "apis/ours") }, e.Delegate)
	for path, want := range map[string]int{
		"": 1, "/apis/ours.org/v1": 1, "/apis/ours.org/v2": 1, "/apis/here.org/v1": 1, "/apis/nobody.org/v1": 1, "/apis/there.org/v1": 0,
	} {
		asked = 0
		if call(whole, asJane(openAPIV3+path)); asked != want {
			t.Errorf("%s is asked for %d times, not %d", openAPIV3+path, asked, want)
		}
	}
}

// What is missing from the list of a core that was never heard is not gone.
func TestWithoutCoresListNothingIsSaidNotToExist(t *testing.T) {
	of := &tells{}
	of.fail(http.StatusServiceUnavailable)
	e := newExtensions(t, of)
	e.prepared(e.live("first"))
	e.Delegate.Tier = tier.Core
	whole := e.whole(newHere(t))
	for _, path := range []string{openAPIV3, openAPIV3 + "/api/v1"} {
		if w := call(whole, asJane(path)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: got %d %v", path, w.Code, w.Header())
		}
	}
	of.fail(0)
	of.say(openAPIV3, listing(t, "api/v1"))
	wantListed(t, "when core tells", whole, "api/v1")
	if w := call(whole, asJane(openAPIV3+"/apis/none.org/v1")); w.Code != http.StatusNotFound {
		t.Errorf("what nobody lists: got %d", w.Code)
	}
}

func TestOtherPathsAreLeftAlone(t *testing.T) {
	here := &tells{}
	here.say("/apis", "here")
	e := newExtensions(t, http.NotFoundHandler())
	if w := call(e.whole(here), asJane("/apis")); w.Body.String() != "here" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestWhatUpstreamAsksTheDelegateIsAnsweredFromMemory(t *testing.T) {
	of := &tells{}
	of.say(openAPIV3, listing(t, "apis/one.org/v1"))
	e := newExtensions(t, of)
	end := e.Target(nil).UnprotectedHandler()
	e.prepared(e.live("first"))
	for _, path := range []string{openAPIV3, openAPIV2} {
		if w := call(end, asJane(path)); w.Code != http.StatusOK {
			t.Errorf("%s: got %d: a 404 makes upstream never ask again", path, w.Code)
		}
	}
	if got := of.questions(); got != nil {
		t.Errorf("it was asked %q", got)
	}
}

func TestTheListIsAskedForWhenTheDelegateAnnouncesAChange(t *testing.T) {
	asked := make(chan string)
	e := newExtensions(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.FollowOpenAPI(ctx) }()
	l := e.live("first")
	e.prepared(l)
	for range 2 {
		if got := <-asked; got != openAPIV3 { // or the test times out
			t.Errorf("it asked for %s", got)
		}
		l.Publish(&handshakev1.RoutesResponse{Complete: true})
	}
	<-asked
	cancel()
	<-done
}

// upstream merges what it downloads from its delegates, when it is asked for.
type upstream struct {
	delegates []http.Handler
	merged    string
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.merged = ""
	for _, d := range u.delegates {
		u.merged += call(d, asJane(openAPIV2)).Body.String()
	}
	fmt.Fprint(w, u.merged)
}

func TestTheMergedDocumentIsForgottenWhenNobodyAsks(t *testing.T) {
	of := &tells{}
	of.say(openAPIV2, strings.Repeat("long", 1000))
	e := newExtensions(t, of)
	merger := &upstream{delegates: []http.Handler{e.Target(nil).UnprotectedHandler()}}
	freed := make(chan struct{}, 1)
	m := newMerged(merger, []*Delegate{e.Delegate})
	m.after, m.freed = time.Millisecond, func() { freed <- struct{}{} }
	if merger.merged != "" || of.questions() != nil {
		t.Error("something was merged before anybody asked")
	}
	e.prepared(e.live("first"))
	for range 2 {
		if got := call(m, asJane(openAPIV2)).Body.String(); got != strings.Repeat("long", 1000) {
			t.Fatalf("got %.99s", got)
		}
		<-freed
		m.mu.Lock()
		if strings.Contains(merger.merged, "long") {
			t.Error("it is still there")
		}
		m.mu.Unlock()
	}
	if got := of.questions(); len(got) != 2 || got[1] == openAPIV2 {
		t.Errorf("asked %q: what is unchanged is not sent again", got)
	}
}

func TestADocumentThatIsBeingSentIsNotForgotten(t *testing.T) {
	sending, sent, freed := make(chan struct{}), make(chan struct{}), make(chan struct{}, 9)
	first := sync.Once{}
	m := newMerged(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "" {
			return // it is to forget
		}
		first.Do(func() { close(sending); <-sent })
	}), nil)
	m.after, m.freed = time.Millisecond, func() { freed <- struct{}{} }
	done := make(chan struct{})
	go func() { defer close(done); call(m, asJane(openAPIV2)) }()
	<-sending
	m.giveBack()
	if len(freed) != 0 {
		t.Error("it was taken away under the client's eyes")
	}
	close(sent)
	<-done
	<-freed
}

// What core describes is what makes the document; what extensions does is kept
// from before, if it is not there.
func TestAMergedDocumentOfALostDelegate(t *testing.T) {
	for name, want := range map[tier.Name]int{tier.Core: http.StatusServiceUnavailable, tier.Extensions: http.StatusOK} {
		of := &tells{}
		of.say(openAPIV2, "described")
		e := newExtensions(t, of)
		e.Tier = name
		m := newMerged(&upstream{delegates: []http.Handler{e.Target(nil).UnprotectedHandler()}}, []*Delegate{e.Delegate})
		w := call(m, asJane(openAPIV2))
		if w.Code != want || (want != http.StatusOK && w.Header().Get("Retry-After") == "") {
			t.Errorf("%s was never there: got %d, want %d", name, w.Code, want)
		}
		l := e.live("first")
		e.prepared(l)
		call(m, asJane(openAPIV2))
		e.lose(l)
		if w := call(m, asJane(openAPIV2)); w.Body.String() != "described" {
			t.Errorf("%s is away: got %d %s", name, w.Code, w.Body)
		}
		m.forget.Stop()
	}
}

// With thousands of CRDs it takes extensions long to make its part. Without it, or with an older one, the
// document would be a whole one that lacks what exists.
func TestTheMergedDocumentIsWaitedForWhileTheDelegateLives(t *testing.T) {
	of, slow := &tells{}, make(chan struct{})
	of.say(openAPIV2, "old")
	e := newExtensions(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			<-slow
		}
		of.ServeHTTP(w, r)
	}))
	l := e.live("first")
	e.prepared(l)
	l.Publish(&handshakev1.RoutesResponse{Complete: true})
	e.wait("its whole announcement", handshake.Complete)
	m := newMerged(&upstream{delegates: []http.Handler{e.Target(nil).UnprotectedHandler()}}, []*Delegate{e.Delegate})
	defer m.forget.Stop()
	call(m, asJane(openAPIV2))
	of.say(openAPIV2, "newer")
	time.AfterFunc(2*listPatience.news, func() { close(slow) })
	if got := call(m, asJane(openAPIV2)).Body.String(); got != "newer" {
		t.Errorf("got %q", got)
	}
	if mergedPatience.first < 50*time.Second || mergedPatience.ask < mergedPatience.first {
		t.Errorf("%+v is not enough for thousands of CRDs", mergedPatience)
	}
}

func TestADocumentThatIsNoneIsNone(t *testing.T) {
	d := &document{path: openAPIV2, body: []byte("no gzip"), zipped: true}
	if etag, body := d.held(); etag != "" || body != nil {
		t.Errorf("got %s %s", etag, body)
	}
	if got := read([]byte("no JSON")); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestACopyThatUpstreamHasIsNotUnzipped(t *testing.T) {
	o := newDocuments(http.NotFoundHandler(), func() bool { return true })
	o.v2.etag, o.v2.body, o.v2.zipped = `"one"`, []byte("no gzip"), true
	for _, question := range []struct {
		known string
		want  int
	}{{`"one"`, http.StatusNotModified}, {`"older"`, http.StatusOK}} {
		r := asJane(openAPIV2)
		r.Header.Set("If-None-Match", question.known)
		if w := call(http.HandlerFunc(o.serveUpstream), r); w.Code != question.want {
			t.Errorf("to who has %s it answers %d %s", question.known, w.Code, w.Body)
		}
	}
	if o.v2.known() {
		t.Error("a copy that cannot be read is kept")
	}
}
