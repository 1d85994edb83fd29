package hop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/internal/identity"
)

// serveRaw has requests on the connections of a listener without TLS served, as those of a peer
// that was admitted. It returns the address.
func serveRaw(t testing.TB, h http.Handler) string {
	t.Helper()
	return serveThrough(t, h, func(c net.Conn) net.Conn { return c })
}

// serveThrough is serveRaw by what wrap makes of a connection.
func serveThrough(t testing.TB, h http.Handler, wrap func(net.Conn) net.Conn) string {
	t.Helper()
	d := startDelegate(t, newAuthority(t), h)
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { l.Close() })
	peers := d.wrap(l)
	go accept(peers, func(c *peerConn) {
		c.peer.Store(&identity.Peer{})
		c.serveOn(c)
		c.turn.take(awaiting)
		newServed(d.Server, c, wrap(c)).serve()
	})
	return l.Addr().String()
}

// serveByNetHTTP is serveRaw by the oracle.
func serveByNetHTTP(t testing.TB, h http.Handler) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	s := &http.Server{Handler: h, MaxHeaderBytes: maxRequestHead, ErrorLog: log.New(io.Discard, "", 0), DisableGeneralOptionsHandler: true}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// script is what a handler does, and what it is sent.
type script struct {
	request []byte
	method  string
	reads   int // of the body: 0 nothing, 1 some, 2 all, 3 closes it
	interim []int
	header  http.Header
	status  int // 0 for none
	pieces  [][]byte
	flushes int // a bit for each piece
	late    http.Header
	aborts  bool
}

func (s script) String() string {
	sizes := []int{}
	for _, p := range s.pieces {
		sizes = append(sizes, len(p))
	}
	head, _, _ := bytes.Cut(s.request, []byte("\r\n\r\n"))
	return fmt.Sprintf("%q reads=%d interim=%v %v status=%d pieces=%v flushes=%b late=%v aborts=%v",
		head, s.reads, s.interim, s.header, s.status, sizes, s.flushes, s.late, s.aborts)
}

func (s script) serve(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	switch s.reads {
	case 1:
		_, _ = r.Body.Read(make([]byte, 1))
	case 2:
		_, _ = io.Copy(io.Discard, r.Body)
	case 3:
		_ = r.Body.Close()
	}
	for _, status := range s.interim {
		w.Header().Set("X-Interim", "yes")
		w.WriteHeader(status)
		w.Header().Del("X-Interim")
	}
	for name, values := range s.header {
		w.Header()[name] = values
	}
	if s.status != 0 {
		w.WriteHeader(s.status)
		w.WriteHeader(http.StatusTeapot) // the first one counts
		w.Header().Set("X-Too-Late", "yes")
	}
	for i, p := range s.pieces {
		n, err := w.Write(p)
		if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, http.ErrContentLength) || err == nil && n != len(p) {
			return
		}
		if s.flushes&(1<<i) != 0 {
			_ = http.NewResponseController(w).Flush()
		}
	}
	for name, values := range s.late {
		w.Header()[name] = values
	}
	if s.aborts {
		panic(http.ErrAbortHandler)
	}
}

// drawScript makes a script from random numbers.
func drawScript(r *rand.Rand) script {
	one := func(n int) bool { return r.IntN(n) == 0 }
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	s := script{
		method: pick("GET", "GET", "HEAD", "POST", "PUT", "DELETE"),
		reads:  2,
		header: http.Header{},
		status: []int{0, 200, 200, 200, 201, 204, 304, 400, 404, 500, 599, 999}[r.IntN(12)],
		late:   http.Header{},
		aborts: one(12),
	}
	body := random(r, []int{0, 0, 1, 100, 5000, 70_000}[r.IntN(6)])
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /%s HTTP/1.1\r\nHost: core\r\nX-A: b\r\n", s.method, pick("", "a?b=c", "%2f", "*"))
	if one(8) {
		b.WriteString("Connection: close\r\n")
	}
	// A client that does not wait may ask for it, too.
	if len(body) > 0 && one(4) {
		b.WriteString("Expect: 100-continue\r\n")
	}
	switch {
	case len(body) > 0 && one(2):
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n%x\r\n%s\r\n0\r\nX-T: u\r\n\r\n", len(body), body)
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	s.request = b.Bytes()
	if one(6) {
		s.interim = append(s.interim, []int{102, 103}[r.IntN(2)])
	}
	for range r.IntN(4) {
		s.pieces = append(s.pieces, random(r, []int{0, 1, 100, 512, 1900, 2047, 2048, 2049, 9000, 65_529, 70_000, 200_000}[r.IntN(12)]))
	}
	if one(4) {
		s.flushes = r.IntN(8)
	}
	if !one(4) {
		s.header.Set("Content-Type", pick("application/json", "text/plain"))
	}
	if one(4) {
		length := len(bytes.Join(s.pieces, nil)) + []int{0, 0, 0, 1, -1}[r.IntN(5)]
		s.header.Set("Content-Length", strconv.Itoa(length))
	}
	for name, value := range map[string]string{
		"Connection": "close", "Transfer-Encoding": "chunked", "Content-Encoding": "gzip", "X-Line": "a\r\nb", "X Name": "none",
		"Trailer": "X-End, X-Other", "X-Empty": "",
	} {
		if one(10) {
			s.header.Set(name, value)
		}
	}
	if len(s.header["Transfer-Encoding"]) > 0 || s.header.Get("Content-Length") == "-1" {
		s.header.Del("Content-Length") // it makes no sense
	}
	if one(10) {
		s.header["Date"] = nil
	}
	if one(10) {
		s.header["X-Twice"] = []string{"1", "2"}
	}
	if one(4) {
		s.late = http.Header{"X-End": {"1"}, http.TrailerPrefix + "X-Marked": {"2"}}
	}
	if s.status == http.StatusNotModified {
		s.header.Del("Content-Type") // net/http leaves it out, and no one else
	}
	return s
}

// told is what a client can tell of an answer.
type told struct {
	Interim         []string
	Status          string
	Header, Trailer string
	Length          int64
	Encoding        []string
	Closes          bool
	Body            [32]byte
	Size            int
	Err             string
}

// play sends raw bytes and returns the answers that come before the connection ends, as it does
// after that to second.
func play(t *testing.T, address string, methods []string, raw []byte) []told {
	t.Helper()
	c := must(net.Dial("tcp", address))
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go c.Write(raw)
	var all []told
	r := bufio.NewReader(c)
	for _, method := range methods {
		var a told
		for {
			resp, err := http.ReadResponse(r, &http.Request{Method: method})
			if err != nil {
				if a.Err = "none"; len(a.Interim) == 0 && len(all) > 0 {
					return all
				}
				break
			}
			resp.Header.Del("Date")
			if resp.StatusCode < 200 {
				a.Interim = append(a.Interim, fmt.Sprint(resp.Status, sorted(resp.Header)))
				continue
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				a.Err = "cut off" // after how much is a matter of buffers
				body = nil
			}
			a.Status, a.Header, a.Trailer, a.Length = resp.Status, sorted(resp.Header), sorted(resp.Trailer), resp.ContentLength
			a.Encoding, a.Closes, a.Body, a.Size = resp.TransferEncoding, resp.Close, sha256.Sum256(body), len(body)
			break
		}
		if all = append(all, a); a.Err != "" {
			return all
		}
	}
	return all
}

const second = "GET /second HTTP/1.1\r\nHost: core\r\nConnection: close\r\n\r\n"

// FuzzServedAgainstNetHTTP has both servers play one script.
func FuzzServedAgainstNetHTTP(f *testing.F) {
	for seed := range uint64(600) {
		f.Add(seed)
	}
	var mu sync.Mutex
	var now script
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/second" {
			io.WriteString(w, "second")
			return
		}
		mu.Lock()
		s := now
		mu.Unlock()
		s.serve(w, r)
	})
	ours, theirs := serveRaw(f, h), serveByNetHTTP(f, h)
	f.Fuzz(func(t *testing.T, seed uint64) {
		s := drawScript(rand.New(rand.NewPCG(seed, 1)))
		mu.Lock()
		now = s
		mu.Unlock()
		methods := []string{s.method, "GET"}
		raw := append(bytes.Clone(s.request), second...)
		got, want := play(t, ours, methods, raw), play(t, theirs, methods, raw)
		if s.aborts && got[0].Err != "" {
			return // how much of it is sent is a matter of buffers
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v\n(-net/http +ours):\n%s", s, diff)
		}
	})
}

// piecesConn knows how large what was written at once is.
type piecesConn struct {
	net.Conn
	sizes []int
}

func (c *piecesConn) Write(p []byte) (int, error) {
	c.sizes = append(c.sizes, len(p))
	return c.Conn.Write(p)
}

// A small answer leaves at once, head and all, and a LIST, which is written item by item, in
// pieces that fill records of TLS. What is flushed leaves as it is.
func TestAnswersLeaveInAsFewPiecesAsCanBe(t *testing.T) {
	item := bytes.Repeat([]byte("x"), 1200)
	for name, test := range map[string]struct {
		h     http.HandlerFunc
		sizes func([]int) bool
	}{
		"small": {func(w http.ResponseWriter, _ *http.Request) { w.Write(item) }, func(sizes []int) bool { return len(sizes) == 1 }},
		"a few": {func(w http.ResponseWriter, _ *http.Request) {
			for range 6 {
				w.Write(item)
			}
		}, func(sizes []int) bool { return len(sizes) == 1 }},
		"a LIST": {func(w http.ResponseWriter, _ *http.Request) {
			for range 500 {
				w.Write(item)
			}
		}, func(sizes []int) bool {
			full := 0
			for _, n := range sizes {
				if n > pieceSize-chunkHead && n <= pieceSize {
					full++
				}
			}
			return full == 500*len(item)/pieceSize && len(sizes) == full+2 // the head, and the rest
		}},
		"flushed": {func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				w.Write(item)
				w.(http.Flusher).Flush()
			}
		}, func(sizes []int) bool { return len(sizes) == 4 }},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDelegate(t, newAuthority(t), test.h)
			near, far := net.Pipe()
			c := &piecesConn{Conn: near}
			peer := &peerConn{Conn: c, set: &d.peers, turn: newTurn()}
			peer.fresh, peer.age = context.WithCancel(t.Context())
			peer.turn.take(awaiting)
			served := make(chan struct{})
			go func() { newServed(d.Server, peer, peer).serve(); close(served) }()
			go io.WriteString(far, second)
			_, _ = io.Copy(io.Discard, far)
			<-served
			if !test.sizes(c.sizes) {
				t.Errorf("pieces of %v", c.sizes)
			}
		})
	}
}

// seenRequest is what a handler sees of a request.
func seenRequest(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = []byte("broken")
	}
	if r.Host == "" {
		io.WriteString(w, "no Host: ")
	}
	fmt.Fprintf(w, "%s %q %q %s %v %d %q", r.Method, r.RequestURI, r.Host, sorted(r.Header), r.TransferEncoding, r.ContentLength, body)
}

// FuzzHeads sends both servers the same bytes. What one refuses the other must not serve, and
// they must not take them for different requests.
func FuzzHeads(f *testing.F) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n",
		"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
		"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 1\r\n\r\na",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
		"GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 5000) + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + second,
		"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"nonsense\r\n\r\n",
	} {
		f.Add([]byte(head))
	}
	ours, theirs := serveRaw(f, http.HandlerFunc(seenRequest)), serveByNetHTTP(f, http.HandlerFunc(seenRequest))
	f.Fuzz(func(t *testing.T, head []byte) {
		if first, _, _ := bytes.Cut(head, []byte("\n")); bytes.Contains(first, []byte("HTTP/1.0")) || bytes.HasPrefix(first, []byte("PRI *")) {
			return // net/http speaks more than a forwarder does
		}
		if !bytes.Contains(bytes.ToLower(head), []byte("host:")) {
			return // a forwarder always has one
		}
		if diff := cmp.Diff(answersTo(t, theirs, head), answersTo(t, ours, head)); diff != "" {
			t.Errorf("%q\n(-net/http +ours):\n%s", head, diff)
		}
	})
}

// answersTo returns what is answered to raw bytes after which nothing comes, but for refusals: what
// is not whole one server refuses, and the other leaves. Nor to a request without a Host, which a
// forwarder always has.
func answersTo(t *testing.T, address string, raw []byte) (answers []string) {
	t.Helper()
	c := must(net.Dial("tcp", address)).(*net.TCPConn)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { c.Write(raw); c.CloseWrite() }()
	r := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answers
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode < 300 && !bytes.HasPrefix(body, []byte("no Host")) {
			answers = append(answers, fmt.Sprintf("%d %s", resp.StatusCode, body))
		}
	}
}
