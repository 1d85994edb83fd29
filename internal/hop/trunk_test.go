package hop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func asksForEvents(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// trunkChain is a chain whose watches have a trunk.
type trunkChain struct {
	*front
	delegate *delegate
}

func startTrunkChain(t testing.TB, h http.HandlerFunc) *trunkChain {
	t.Helper()
	ca := newAuthority(t)
	d := startDelegateThat(t, ca, h, func(c *ServerConfig) { c.Watches = asksForEvents })
	f := newTestForwarder(t, ca, d.address, func(c *ForwarderConfig) { c.Watches, c.LongRunning = asksForEvents, asksForEvents })
	return &trunkChain{front: &front{Server: startFront(t, f), forwarder: f}, delegate: d}
}

// trunk waits until there is one.
func (c *trunkChain) trunk(t testing.TB) *trunkIn {
	t.Helper()
	var now *trunkIn
	eventually(t, "there is a trunk", func() bool {
		s := &c.forwarder.trunks
		if l := s.board(c.forwarder.pool.current()); l != nil {
			l.leave()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		now = s.now
		return now != nil
	})
	return now
}

// lanes counts the watches on all trunks of the delegate.
func (c *trunkChain) lanes() int {
	n := 0
	c.delegate.trunks.mu.Lock()
	defer c.delegate.trunks.mu.Unlock()
	for _, t := range c.delegate.trunks.trunks {
		t.mu.Lock()
		n += len(t.lanes)
		t.mu.Unlock()
	}
	return n
}

// connections counts those of the forwarder that are in use.
func (c *trunkChain) connections() int {
	p := c.forwarder.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all) - len(p.idle)
}

// watch begins one and waits for its status.
func (c *trunkChain) watch(t testing.TB, client *http.Client, query string) *http.Response {
	t.Helper()
	resp, err := client.Get(c.URL + "/?watch=1" + query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || len(resp.Header[trunkHeader]) > 0 {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	return resp
}

// eachWatch runs the test with an HTTP/1.1 and an HTTP/2 client, when there is a trunk.
func eachWatch(t *testing.T, h http.HandlerFunc, test func(t *testing.T, c *trunkChain, client *http.Client)) {
	for _, proto := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", proto), func(t *testing.T) {
			c := startTrunkChain(t, h)
			c.trunk(t)
			client := clientOf(c.Server, proto == 2)
			t.Cleanup(client.CloseIdleConnections)
			test(t, c, client)
		})
	}
}

// Each event arrives before the next one is written, and the end is a clean one.
func TestEventsTakeTheTrunkAtOnce(t *testing.T) {
	next := make(chan string)
	watch := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Test", "yes")
		w.Header().Set("Transfer-Encoding", "chunked")
		w.WriteHeader(http.StatusOK)
		rc := http.NewResponseController(w)
		rc.Flush()
		for event := range next {
			if event == "end" {
				return
			}
			io.WriteString(w, event+"\n")
			rc.Flush()
		}
	}
	eachWatch(t, watch, func(t *testing.T, c *trunkChain, client *http.Client) {
		resp := c.watch(t, client, "")
		if resp.Header.Get("X-Test") != "yes" || c.lanes() != 1 {
			t.Errorf("%v, %d lanes", resp.Header, c.lanes())
		}
		if used := c.connections(); used != 1 {
			t.Errorf("%d connections are in use, want the trunk alone", used)
		}
		lines := bufio.NewReader(resp.Body)
		for i := range 5 {
			next <- fmt.Sprint(i)
			if line, err := lines.ReadString('\n'); line != fmt.Sprintln(i) {
				t.Fatalf("%q %v", line, err)
			}
		}
		next <- "end"
		if _, err := lines.ReadByte(); err != io.EOF {
			t.Errorf("got %v, want a clean end", err)
		}
		eventually(t, "the lane is free", func() bool { return c.lanes() == 0 })
	})
}

// What is no watch, is not answered 200, or has a length, has its body on its own connection; and what is not flushed
// arrives, too.
func TestAnswersOfAllKindsArriveBesideATrunk(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("kind") {
		case "failed":
			w.WriteHeader(http.StatusGone)
		case "sized":
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusOK)
		case "large":
			w.WriteHeader(http.StatusOK)
			w.Write(bytes.Repeat([]byte("x"), 300_000))
		case "empty":
			w.WriteHeader(http.StatusOK)
			return
		case "unsaid":
		default:
			w.WriteHeader(http.StatusOK)
		}
		io.WriteString(w, "event")
	}
	eachWatch(t, answer, func(t *testing.T, c *trunkChain, client *http.Client) {
		for kind, want := range map[string]string{
			"failed": "event", "sized": "event", "unsaid": "event", "plain": "event", "empty": "", "large": strings.Repeat("x", 300_000) + "event",
		} {
			for _, query := range []string{"?watch=1&kind=", "?kind="} {
				resp, err := client.Get(c.URL + "/" + query + kind)
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				if got := readAll(t, resp.Body); got != want || resp.StatusCode == http.StatusGone != (kind == "failed") {
					t.Errorf("%s%s: %s, %d bytes %.10q", query, kind, resp.Status, len(got), got)
				}
			}
		}
	})
}

// numbered writes lines that tell whether one is missing, until the client is gone.
func numbered(w io.Writer, from, to int) error {
	for i := from; i < to; i++ {
		if _, err := fmt.Fprintf(w, "%d %s\n", i, strings.Repeat("x", i%1500)); err != nil {
			return err
		}
	}
	return nil
}

func checkNumbered(r *bufio.Reader, from, to int) error {
	for i := from; i < to; i++ {
		line, err := r.ReadString('\n')
		if number, rest, _ := strings.Cut(line, " "); err != nil || number != strconv.Itoa(i) || len(rest) != i%1500+1 {
			return fmt.Errorf("%.20q in the place of %d: %w", line, i, err)
		}
	}
	return nil
}

// Many watches at once, some with much to say, and each gets its own, all of it, in order.
func TestWatchesOnATrunkAreNotMixed(t *testing.T) {
	watch := func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		w.WriteHeader(http.StatusOK)
		for i := range 50 {
			if numbered(w, from+i*20, from+i*20+20) != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
	eachWatch(t, watch, func(t *testing.T, c *trunkChain, client *http.Client) {
		var all sync.WaitGroup
		for i := range 40 {
			resp := c.watch(t, client, fmt.Sprintf("&from=%d", i*1000))
			all.Go(func() {
				r := bufio.NewReader(resp.Body)
				if err := checkNumbered(r, i*1000, i*1000+1000); err != nil {
					t.Errorf("watch %d: %v", i, err)
				}
				if _, err := r.ReadByte(); err != io.EOF {
					t.Errorf("watch %d ends with %v", i, err)
				}
			})
		}
		all.Wait()
	})
}

// A client that does not read has its own handler wait, and nobody else's; nothing of it is lost.
func TestASlowWatchHoldsUpNoOther(t *testing.T) {
	var written atomic.Int64
	watch := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		if r.URL.Query().Get("slow") == "" {
			numbered(w, 0, 1000)
			return
		}
		for i := range 30_000 {
			if numbered(w, i, i+1) != nil {
				return
			}
			w.(http.Flusher).Flush()
			written.Store(int64(i))
		}
	}
	c := startTrunkChain(t, watch)
	c.trunk(t)
	slow, fast := c.http1(), c.http2()
	defer slow.CloseIdleConnections()
	defer fast.CloseIdleConnections()
	resp := c.watch(t, slow, "&slow=1")
	stalled(t, &written)
	stuck := written.Load()
	for range 20 {
		r := bufio.NewReader(c.watch(t, fast, "").Body)
		if err := checkNumbered(r, 0, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if got := written.Load(); got != stuck || c.lanes() != 1 {
		t.Errorf("%d lines are written, %d before; %d lanes", got, stuck, c.lanes())
	}
	if err := checkNumbered(bufio.NewReader(resp.Body), 0, 30_000); err != nil {
		t.Error(err)
	}
}

// forever says that it has begun and what its context ends with.
func forever(ends chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "begun\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		io.WriteString(w, "last\n")
		ends <- context.Cause(r.Context())
	}
}

func wantBegun(t testing.TB, resp *http.Response) *bufio.Reader {
	t.Helper()
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); line != "begun\n" {
		t.Fatalf("%q %v", line, err)
	}
	return r
}

// A client that leaves is missed by the handler, and others on the trunk are not touched.
func TestAWatchOnATrunkIsCanceled(t *testing.T) {
	ends := make(chan error, 2)
	eachWatch(t, forever(ends), func(t *testing.T, c *trunkChain, client *http.Client) {
		other := wantBegun(t, c.watch(t, client, ""))
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := client.Do(must(http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/?watch=1", nil)))
		if err != nil {
			t.Fatal(err)
		}
		wantBegun(t, resp)
		cancel()
		resp.Body.Close()
		select {
		case <-ends:
		case <-time.After(10 * time.Second):
			t.Fatal("the handler was never told")
		}
		eventually(t, "one lane is left", func() bool { return c.lanes() == 1 })
		c.forwarder.Close()
		if _, err := io.ReadAll(other); err == nil {
			t.Error("a watch whose tier has closed its connections ends as if it were whole")
		}
		<-ends
	})
}

// Whoever reads a watch whose trunk is lost must not take what it got for all there is. The next watch finds a
// new trunk.
func TestALostTrunkCutsItsWatchesOff(t *testing.T) {
	ends := make(chan error, 10)
	eachWatch(t, forever(ends), func(t *testing.T, c *trunkChain, client *http.Client) {
		first := c.trunk(t)
		r := wantBegun(t, c.watch(t, client, ""))
		first.conn.abort()
		if got, err := io.ReadAll(r); err == nil {
			t.Errorf("ended cleanly, with %q", got)
		}
		<-ends
		if second := c.trunk(t); second == first {
			t.Error("there is no new trunk")
		}
		wantBegun(t, c.watch(t, client, ""))
		if c.lanes() != 1 {
			t.Errorf("%d lanes", c.lanes())
		}
		c.CloseClientConnections()
		<-ends
	})
}

// A handler that breaks off breaks its own watch, and no other.
func TestAHandlerThatBreaksOffBreaksItsWatch(t *testing.T) {
	broken := make(chan struct{})
	watch := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "begun\n")
		w.(http.Flusher).Flush()
		<-broken
		if r.URL.Query().Get("break") != "" {
			panic(http.ErrAbortHandler)
		}
	}
	c := startTrunkChain(t, watch)
	c.trunk(t)
	client := c.http2()
	defer client.CloseIdleConnections()
	whole, half := wantBegun(t, c.watch(t, client, "")), wantBegun(t, c.watch(t, client, "&break=1"))
	if c.lanes() != 2 {
		t.Fatalf("%d lanes", c.lanes())
	}
	close(broken)
	if _, err := half.ReadByte(); err == nil || err == io.EOF {
		t.Errorf("the broken one ends with %v", err)
	}
	if _, err := whole.ReadByte(); err != io.EOF {
		t.Errorf("the other one ends with %v", err)
	}
}

// What the server does not take for a watch has its own connection, and the trunk of the others stays.
func TestAnOfferThatIsNotTakenLeavesTheTrunkAlone(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegateThat(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
	}), func(c *ServerConfig) { c.Watches = func(r *http.Request) bool { return r.URL.Path == "/watched" } })
	f := newTestForwarder(t, ca, d.address, func(c *ForwarderConfig) { c.Watches, c.LongRunning = asksForEvents, asksForEvents })
	c := &trunkChain{front: &front{Server: startFront(t, f), forwarder: f}, delegate: d}
	first := c.trunk(t)
	readAll(t, c.watch(t, clientOf(c.Server, true), "").Body)
	if c.trunk(t) != first {
		t.Error("there is another trunk")
	}
}

// A handler that flushes before it says a status has given one.
func TestAWatchThatIsFlushedFirst(t *testing.T) {
	eachWatch(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "event")
	}, func(t *testing.T, c *trunkChain, client *http.Client) {
		if got := readAll(t, c.watch(t, client, "").Body); got != "event" {
			t.Errorf("%q arrived", got)
		}
	})
}

// What was said before a watch broke off arrives.
func TestTheLastWordsOfAWatchArrive(t *testing.T) {
	said := strings.Repeat("event", 1000)
	eachWatch(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, said)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, c *trunkChain, client *http.Client) {
		for range 20 {
			got, err := io.ReadAll(c.watch(t, client, "").Body)
			if string(got) != said || err == nil {
				t.Fatalf("%d of %d bytes, and then %v", len(got), len(said), err)
			}
		}
	})
}
