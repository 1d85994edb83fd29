package hop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oracle compares the ways to one handler: through a Forwarder, through
// net/http/httputil's ReverseProxy over net/http's Transport, and none at all.
// The client should see what it sees without a hop, and the handler what it
// sees behind a reverse proxy.
type oracle struct {
	ours, theirs, direct *httptest.Server

	clients map[string]*http.Client

	mu   sync.Mutex
	plan exchangePlan // what the handler does with the next request
	saw  []string     // what it saw
}

// exchangePlan is one request and one answer, drawn from a seed.
type exchangePlan struct {
	http2                   bool
	method, target          string
	header                  http.Header
	body                    []byte
	chunked                 bool
	unread                  bool // the handler does not look at the body
	status                  int
	answerHeader            http.Header
	pieces                  [][]byte
	flush, sized, atrailers bool
}

func newOracle(t testing.TB) *oracle {
	o := &oracle{clients: map[string]*http.Client{}}
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(o.serve))
	o.ours = startFront(t, newTestForwarder(t, ca, d.address, nil))
	transport := &http.Transport{TLSClientConfig: ca.clientTLS(), DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	o.theirs = startFront(t, &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Director: func(r *http.Request) { // unlike Rewrite it leaves the query alone
			r.URL.Scheme, r.URL.Host = "https", d.address
			r.Header["X-Forwarded-For"] = nil
		},
	})
	o.direct = startFront(t, http.HandlerFunc(o.serve))
	for _, s := range []*httptest.Server{o.ours, o.theirs, o.direct} {
		for _, http2 := range []bool{false, true} {
			c := clientOf(s, http2)
			t.Cleanup(c.CloseIdleConnections)
			o.clients[fmt.Sprint(s.URL, http2)] = c
		}
	}
	return o
}

// serve is the delegate.
func (o *oracle) serve(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	p := o.plan
	o.mu.Unlock()
	var body []byte
	var err error
	if !p.unread {
		body, err = io.ReadAll(r.Body)
	}
	o.mu.Lock()
	o.saw = append(o.saw, describeRequest(r, body, err))
	o.mu.Unlock()
	p.answer(w)
}

func describeRequest(r *http.Request, body []byte, err error) string {
	h := r.Header.Clone()
	delete(h, "Content-Length") // the reverse proxy drops a zero one
	return fmt.Sprintf("%s %s %s %s %x %v %v %d", r.Method, r.RequestURI, r.Host, sorted(h),
		sha256.Sum256(body), err, r.TransferEncoding, r.ContentLength)
}

func sorted(h http.Header) string {
	var lines []string
	for k, v := range h {
		lines = append(lines, fmt.Sprintf("%s=%q", k, v))
	}
	slices.Sort(lines)
	return strings.Join(lines, ",")
}

func (p exchangePlan) answer(w http.ResponseWriter) {
	for k, v := range p.answerHeader {
		w.Header()[k] = v
	}
	if p.atrailers {
		w.Header().Set("Trailer", "X-End")
	}
	if p.sized {
		w.Header().Set("Content-Length", strconv.Itoa(len(bytes.Join(p.pieces, nil))))
	}
	w.WriteHeader(p.status)
	for _, piece := range p.pieces {
		w.Write(piece)
		if p.flush {
			http.NewResponseController(w).Flush()
		}
	}
	if p.atrailers {
		w.Header().Set("X-End", "done")
	}
}

// String leaves the bodies out.
func (p exchangePlan) String() string {
	sizes := []int{len(p.body)}
	for _, piece := range p.pieces {
		sizes = append(sizes, len(piece))
	}
	return fmt.Sprintf("%s %s http2=%v %v chunked=%v unread=%v -> %d %v sized=%v flush=%v trailers=%v, bytes %v", p.method, p.target,
		p.http2, p.header, p.chunked, p.unread, p.status, p.answerHeader, p.sized, p.flush, p.atrailers, sizes)
}

// check sends the planned request both ways.
func (o *oracle) check(t *testing.T, p exchangePlan) {
	t.Helper()
	o.mu.Lock()
	o.plan = p
	o.mu.Unlock()
	ours, sawOurs := o.send(t, o.ours, p)
	_, sawTheirs := o.send(t, o.theirs, p)
	direct, _ := o.send(t, o.direct, p)
	if diff := cmp.Diff(direct, ours); diff != "" {
		t.Errorf("%v\nthe client got something else (-direct +ours):\n%s", p, diff)
	}
	if diff := cmp.Diff(sawTheirs, sawOurs); diff != "" {
		t.Errorf("%v\nthe delegate got something else (-reverse proxy +ours):\n%s", p, diff)
	}
}

// result is what a client can tell of an answer.
type result struct {
	Status          int
	Header, Trailer string
	Length          int64
	Encoding        []string
	Body            [32]byte
	Failed          bool
}

func (o *oracle) send(t *testing.T, s *httptest.Server, p exchangePlan) (result, []string) {
	t.Helper()
	u := must(url.Parse(s.URL))
	path, query, _ := strings.Cut(p.target, "?")
	u.Opaque, u.RawQuery, u.ForceQuery = path, query, strings.HasSuffix(p.target, "?")
	req := &http.Request{Method: p.method, URL: u, Header: p.header.Clone(), Host: "kubernetes", ContentLength: int64(len(p.body)), ProtoMajor: 1, ProtoMinor: 1}
	if len(p.body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(p.body))
	}
	if p.chunked && len(p.body) > 0 {
		req.ContentLength = -1
	}
	resp, err := o.clients[fmt.Sprint(s.URL, p.http2)].Do(req)
	if err != nil {
		return result{Failed: true}, o.seen()
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Header.Del("Date")
	if p.unread {
		// Whether the body or the answer came first is a matter of luck.
		resp.Header.Del("Connection")
	}
	return result{
		Status: resp.StatusCode, Header: sorted(resp.Header), Trailer: sorted(resp.Trailer), Length: resp.ContentLength,
		Encoding: resp.TransferEncoding, Body: sha256.Sum256(body), Failed: err != nil,
	}, o.seen()
}

func (o *oracle) seen() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	saw := o.saw
	o.saw = nil
	return saw
}

// draw makes a plan from random numbers.
func draw(r *rand.Rand) exchangePlan {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	size := func() int { return []int{0, 1, 100, 2047, 2049, 4096, 20_000, 70_000, 300_000}[r.IntN(9)] }
	p := exchangePlan{
		http2:  r.IntN(2) == 0,
		method: pick("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"),
		target: pick("/", "/a//b", "/a%2Fb", "/a/../b/./c", "/a;b", "/%E4%BD%A0", "/a+b", "/a%20b") +
			pick("", "?", "?a=b", "?a=&b", "?a;b=c", "?%zz", "?a=b%2Fc&a=d", "?a+b=c"),
		header:       http.Header{"User-Agent": {"t"}},
		answerHeader: http.Header{"Content-Type": {pick("application/json", "text/plain", "text/event-stream")}},
		status:       []int{200, 200, 200, 201, 204, 304, 400, 401, 404, 409, 500, 503, 599, 999}[r.IntN(14)],
		chunked:      r.IntN(3) == 0,
		flush:        r.IntN(2) == 0,
	}
	for range r.IntN(4) {
		p.header.Add(pick("X-A", "X-B", "Accept", "Impersonate-Group", "X-Remote-Group"), pick("", "x", "a, b", "\u00e9", `"q"`, "1;q=0.5"))
		p.answerHeader.Add(pick("X-C", "X-D", "Set-Cookie", "Vary", "Warning", "Etag"), pick("", "x", "a, b", `"q"`))
	}
	if p.method != "GET" && p.method != "HEAD" {
		p.body = random(r, size())
		// A client that is still sending more than this may lose the answer,
		// with or without a hop.
		p.unread = len(p.body) <= 70_000 && r.IntN(3) == 0
	}
	if p.status != 204 && p.status != 304 {
		for range r.IntN(4) {
			p.pieces = append(p.pieces, random(r, size()))
		}
		p.atrailers = len(bytes.Join(p.pieces, nil)) > 0 && p.method != "HEAD" && r.IntN(4) == 0
		p.flush = p.flush || p.atrailers // trailers need no length
		p.sized = !p.atrailers && r.IntN(2) == 0
	}
	return p
}

func random(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// FuzzAgainstReverseProxy draws exchanges from the seed. Its corpus, which runs
// with every go test, has a few hundred of them.
func FuzzAgainstReverseProxy(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	o := newOracle(f)
	f.Fuzz(func(t *testing.T, seed uint64) { o.check(t, draw(rand.New(rand.NewPCG(seed, 0)))) })
}
