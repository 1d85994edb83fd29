package hop

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// Each event must arrive before the next one is written.
func TestWatchIsFlushedPerEvent(t *testing.T) {
	next := make(chan struct{})
	watch := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.Flush()
		for range 5 {
			<-next
			io.WriteString(w, "event\n")
			rc.Flush()
		}
	}
	eachProtocol(t, watch, func(t *testing.T, f *front, c *http.Client) {
		resp, err := c.Get(f.URL) // returns only if the header is flushed
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewReader(resp.Body)
		for range 5 {
			next <- struct{}{}
			if line, err := lines.ReadString('\n'); line != "event\n" {
				t.Fatalf("%q %v", line, err)
			}
		}
		if _, err := lines.ReadByte(); err != io.EOF {
			t.Errorf("got %v", err)
		}
	})
}

func TestEventStreamOfKnownLengthIsFlushed(t *testing.T) {
	next := make(chan struct{})
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "first")
		http.NewResponseController(w).Flush()
		<-next
		io.WriteString(w, "later")
	})
	resp, err := f.http1().Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	var first [5]byte
	io.ReadFull(resp.Body, first[:])
	close(next)
	if got := string(first[:]) + readAll(t, resp.Body); got != "firstlater" {
		t.Errorf("got %q", got)
	}
}

func TestBothWaysAtOnce(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			rc.Flush()
			if err != nil {
				return
			}
		}
	}
	f := startChain(t, echo)
	c := f.http2()
	defer c.CloseIdleConnections()
	in, out := io.Pipe()
	resp, err := c.Post(f.URL, "", in)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		io.WriteString(out, "ping")
		var got [4]byte
		if _, err := io.ReadFull(resp.Body, got[:]); err != nil || string(got[:]) != "ping" {
			t.Fatalf("%q %v", got, err)
		}
	}
	out.Close()
	if got := readAll(t, resp.Body); got != "" {
		t.Errorf("got %q", got)
	}
}

// A client that leaves must be missed by the handler that serves it.
func TestCancellationReachesTheDelegate(t *testing.T) {
	gone, started := make(chan struct{}, 1), make(chan struct{}, 1)
	wait := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/begun" {
			http.NewResponseController(w).Flush()
		}
		started <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}
	eachProtocol(t, wait, func(t *testing.T, f *front, c *http.Client) {
		for _, path := range []string{"/begun", "/silent"} {
			for _, method := range []string{"GET", "POST"} {
				ctx, cancel := context.WithCancel(t.Context())
				go func() { <-started; cancel() }()
				resp, err := c.Do(must(http.NewRequestWithContext(ctx, method, f.URL+path, bytes.NewReader([]byte("x")))))
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err == nil {
					t.Error("there was an answer")
				}
				select {
				case <-gone:
				case <-time.After(10 * time.Second):
					t.Fatalf("the handler of %s %s was never told", method, path)
				}
			}
		}
	})
}

// A body whose client goes away in the middle is not taken for a whole one.
func TestCancellationInTheBodyReachesTheDelegate(t *testing.T) {
	started, result := make(chan struct{}, 1), make(chan error, 1)
	read := func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 10))
		started <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		result <- err
	}
	eachProtocol(t, read, func(t *testing.T, f *front, c *http.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		in, out := io.Pipe()
		go func() {
			out.Write(make([]byte, 100_000))
			<-started
			cancel()
			out.CloseWithError(io.ErrClosedPipe)
		}()
		resp, err := c.Do(must(http.NewRequestWithContext(ctx, "POST", f.URL, in)))
		if err == nil {
			resp.Body.Close()
			t.Error("there was an answer")
		}
		if err := <-result; err == nil {
			t.Error("the delegate took the body for whole")
		}
	})
}

// A client that does not read stops the delegate from writing.
func TestSlowReaderHoldsTheDelegateBack(t *testing.T) {
	const whole = 256 << 20
	var written atomic.Int64
	endless := func(w http.ResponseWriter, r *http.Request) {
		p := make([]byte, 64<<10)
		for written.Load() < whole {
			n, err := w.Write(p)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	eachProtocol(t, endless, func(t *testing.T, f *front, c *http.Client) {
		written.Store(0)
		resp, err := c.Get(f.URL)
		if err != nil {
			t.Fatal(err)
		}
		stalled(t, &written)
		if n := written.Load(); n > whole/4 {
			t.Errorf("%d bytes are under way", n)
		}
		resp.Body.Close()
	})
}

// A delegate that does not read stops the client from writing.
func TestSlowDelegateHoldsTheClientBack(t *testing.T) {
	done := make(chan struct{})
	idle := func(w http.ResponseWriter, r *http.Request) { <-done }
	defer close(done)
	f := startChain(t, idle)
	var sent atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		body := readerFunc(func(p []byte) (int, error) { sent.Add(int64(len(p))); return len(p), ctx.Err() })
		resp, err := f.http1().Do(must(http.NewRequestWithContext(ctx, "POST", f.URL, body)))
		if err == nil {
			resp.Body.Close()
		}
	}()
	stalled(t, &sent)
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes are under way", n)
	}
	cancel()
	<-finished
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// stalled returns when n has grown and then not changed for a while.
func stalled(t *testing.T, n *atomic.Int64) {
	t.Helper()
	last, since := int64(0), time.Now()
	eventually(t, "a stall", func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > time.Second // and is not just kept from running
	})
}

// A watch that is asked for by HEAD goes on behind its answer. No other request may wait for it.
func TestNothingIsSentBehindAHeadThatGoesOn(t *testing.T) {
	ends := make(chan struct{})
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			return
		}
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ends)
	})
	client := clientOf(f.Server, true)
	if _, err := client.Head(f.URL); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(f.URL)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v %v", resp, err)
	}
	<-ends
}
