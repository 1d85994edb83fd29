package hop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startStampedChain has a front whose own filters have said something already.
func startStampedChain(t *testing.T, h http.HandlerFunc) *front {
	t.Helper()
	f := startChain(t, h)
	stamped := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Audit-Id", "head")
		w.Header().Set("Cache-Control", "head")
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		w.Header().Set("Warning", `299 - "head"`)
		f.forwarder.ServeHTTP(w, r)
	}))
	return &front{Server: stamped, forwarder: f.forwarder}
}

func TestHeadersOfAnAnswer(t *testing.T) {
	f := startStampedChain(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Audit-Id", "delegate")
		h.Set("Cache-Control", "delegate")
		h.Set("X-Kubernetes-Pf-Flowschema-Uid", "delegate")
		h.Add("Warning", `299 - "one"`)
		h.Add("Warning", `299 - "two"`)
		h.Add("X-Many", "a")
		h.Add("X-Many", "b")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("X-Hop", "z")
		h.Set("Connection", "X-Hop")
		h["Content-Type"] = nil
		io.WriteString(w, "<html>")
	})
	resp, err := f.http1().Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp.Body)
	for key, want := range map[string][]string{
		"Audit-Id":                       {"delegate"},
		"Cache-Control":                  {"delegate"},
		"Strict-Transport-Security":      {"max-age=1"},
		"X-Kubernetes-Pf-Flowschema-Uid": {"delegate"},
		"Warning":                        {`299 - "head"`, `299 - "one"`, `299 - "two"`},
		"X-Many":                         {"a", "b"},
		"Keep-Alive":                     nil,
		"Connection":                     nil,
		"X-Hop":                          nil,
		"Content-Type":                   nil,
		"Content-Length":                 {"6"},
	} {
		if got := resp.Header[key]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	if len(resp.Header["Date"]) != 1 {
		t.Errorf("Date: %q", resp.Header["Date"])
	}
}

func TestRequestHeadersArriveUnchanged(t *testing.T) {
	got := make(chan *http.Request, 1)
	handler := func(w http.ResponseWriter, r *http.Request) { got <- r }
	eachProtocol(t, handler, func(t *testing.T, f *front, c *http.Client) {
		req := must(http.NewRequest("GET", f.URL, nil))
		req.Host = "kubernetes.default.svc:6443"
		req.Header = http.Header{
			"X-Forwarded-For":  {"1.2.3.4", "5.6.7.8, 9.10.11.12"},
			"Impersonate-User": {"someone"},
			"User-Agent":       {"kubectl"},
			"X-Empty":          {""},
			"X-Utf8":           {"\u00e9\xff"},
			"Accept-Encoding":  {"gzip"},
			"Authorization":    {"Bearer x"},
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		r := <-got
		if r.Host != req.Host || r.ProtoMajor != 1 {
			t.Errorf("Host %q by HTTP/%d", r.Host, r.ProtoMajor)
		}
		if len(r.Header) != len(req.Header) {
			t.Errorf("got %v", r.Header)
		}
		for key, want := range req.Header {
			if !slices.Equal(r.Header[key], want) {
				t.Errorf("%s: got %q, want %q", key, r.Header[key], want)
			}
		}
	})
}

// What the client does not send, User-Agent say, must not be made up.
func TestNoHeaderIsMadeUp(t *testing.T) {
	got := make(chan http.Header, 1)
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) { got <- r.Header })
	c := f.dial(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if h := <-got; len(h) != 0 {
		t.Errorf("got %v", h)
	}
	io.Copy(io.Discard, io.LimitReader(c, 10))
}

func TestLargeHeadersPass(t *testing.T) {
	large := string(make([]byte, 0, 1))
	for len(large) < 900_000 {
		large += "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"[:100]
		large += large
	}
	large = large[:900_000]
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Large", r.Header.Get("X-Large"))
	})
	c := f.http1()
	c.Transport.(*http.Transport).MaxResponseHeaderBytes = 2 << 20
	req := must(http.NewRequest("GET", f.URL, nil))
	req.Header.Set("X-Large", large)
	resp, err := c.Do(req)
	if err != nil || resp.Header.Get("X-Large") != large {
		t.Errorf("%v %v", resp.Status, err)
	}
}

// Watches wait most of their lives, and there are thousands.
func TestAWatchThatWaitsHoldsNoBuffer(t *testing.T) {
	anew, made := buffers.New, atomic.Int32{}
	defer func() { buffers.New = anew }()
	buffers.New = func() any { made.Add(1); return anew() }
	const watches = 100
	var ends []net.Conn
	var all sync.WaitGroup
	for range watches {
		r, w := socketPair(t)
		ends = append(ends, w)
		flushed := make(chan struct{}, 2)
		b := body{conn: connOver(r), answer: &answer{length: unknownLength}, w: httptest.NewRecorder(), flush: func() error {
			flushed <- struct{}{}
			return nil
		}}
		all.Go(func() {
			if err := b.copy(); err != nil {
				t.Error(err)
			}
		})
		<-flushed // it is about to wait for the first event
		if _, err := fmt.Fprint(w, "5\r\nevent\r\n"); err != nil {
			t.Fatal(err)
		}
		<-flushed // and for the second
	}
	for _, w := range ends {
		fmt.Fprint(w, "0\r\n\r\n")
	}
	all.Wait()
	if got := made.Load(); got > watches/2 {
		t.Errorf("%d watches had %d buffers", watches, got)
	}
}

// startBody delivers an answer in chunks, which the test says. flushed tells how much was delivered at each flush, and has it
// wait until the test knows.
func startBody(t *testing.T) (say func(string), flushed <-chan int) {
	far, near := socketPair(t)
	if err := far.(*net.UnixConn).SetWriteBuffer(8 * pieceSize); err != nil {
		t.Fatal(err)
	}
	got, flushes, done := httptest.NewRecorder(), make(chan int), make(chan error)
	b := body{conn: connOver(near), answer: &answer{length: unknownLength}, w: got, flush: func() error {
		flushes <- got.Body.Len()
		return nil
	}}
	all := ""
	say = func(what string) {
		all += what
		if _, err := fmt.Fprintf(far, "%x\r\n%s\r\n", len(what), what); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		fmt.Fprint(far, "0\r\n\r\n")
		go func() {
			for range flushes {
			}
		}()
		if err := <-done; err != nil || got.Body.String() != all {
			t.Errorf("%d of %d bytes, %v", got.Body.Len(), len(all), err)
		}
	})
	go func() { done <- b.copy(); close(flushes) }()
	return say, flushes
}

// What was said is not held back until more is, whatever its size: what ends a chunk may come in a piece of its own.
func TestEveryEventIsFlushed(t *testing.T) {
	say, flushed := startBody(t)
	<-flushed
	want := 0
	for size := 4096 - 16; size < 4096+16; size++ {
		say(strings.Repeat("e", size))
		want += size
		for {
			select {
			case n := <-flushed:
				if n < want {
					continue
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("an event of %d bytes is held back", size)
			}
			break
		}
	}
}

// A long answer is flushed at its beginning, and when there is no more of it.
func TestALongAnswerIsFlushedWhenThereIsNoMore(t *testing.T) {
	say, flushed := startBody(t)
	say(strings.Repeat("l", 2*pieceSize))
	<-flushed
	if n := <-flushed; n != 2*pieceSize {
		t.Errorf("flushed with %d of %d bytes", n, 2*pieceSize)
	}
}
