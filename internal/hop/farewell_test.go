package hop

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"

// open makes a connection on which the test decides itself what is sent when.
func (d *delegate) open(t *testing.T) *tls.Conn {
	t.Helper()
	config := d.ca.clientTLS()
	config.NextProtos = []string{"http/1.1"}
	c := must(tls.Dial("tcp", d.address, config))
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a request and reads the answer.
func ask(t *testing.T, c *tls.Conn, r *bufio.Reader, request string) *http.Response {
	t.Helper()
	_, _ = io.WriteString(c, request) // the answer may be there though this fails
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("a request is not answered: %v", err)
	}
	resp.Body = io.NopCloser(strings.NewReader(readAll(t, resp.Body)))
	return resp
}

// wantFarewell checks that a client may send its write again.
func wantFarewell(t *testing.T, resp *http.Response) {
	t.Helper()
	if !resp.Close {
		t.Error("the connection is to go on")
	}
	wantUnavailable(t, resp, nil)
}

// The request that a server meets on a connection that it has just closed is
// the one that its sender wrote while it was being closed.
func TestRequestsUnderWayToAStoppingServerAreAnswered(t *testing.T) {
	served := make(chan struct{}, 10)
	release := make(chan struct{})
	d := startDelegate(t, newAuthority(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served <- struct{}{}
		if r.URL.Path == "/held" {
			<-release
		}
	}))
	fresh, idle, busy := d.open(t), d.open(t), d.open(t)
	fromIdle, fromBusy := bufio.NewReader(idle), bufio.NewReader(busy)
	ask(t, idle, fromIdle, post)
	<-served
	d.awaits(t, 3)
	io.WriteString(busy, strings.Replace(post, "/", "/held", 1))
	<-served

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- d.Shutdown(ctx) }()
	d.awaits(t, 0)
	close(release)
	if resp := ask(t, busy, fromBusy, ""); resp.StatusCode != http.StatusOK {
		t.Errorf("what was in flight is answered %s", resp.Status)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	wantFarewell(t, ask(t, fresh, bufio.NewReader(fresh), post))
	wantFarewell(t, ask(t, idle, fromIdle, post))
	wantFarewell(t, ask(t, busy, fromBusy, post))
	if len(served) > 0 {
		t.Error("a request was served that was said not to be")
	}
}

// awaits waits until n connections may bring a request.
func (d *delegate) awaits(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the server awaits requests", func() bool {
		count := 0
		for _, c := range d.peers.all() {
			c.turn.mu.Lock()
			if c.turn.phase == awaiting {
				count++
			}
			c.turn.mu.Unlock()
		}
		return count == n
	})
}

// A request that the server has read when it says farewell has its answer.
func TestNothingIsServedBehindAFarewell(t *testing.T) {
	d := startDelegate(t, newAuthority(t), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the request is served")
	}))
	near, far := net.Pipe()
	c := &peerConn{Conn: near, set: &d.peers, turn: newTurn()}
	c.fresh, c.age = context.WithCancel(t.Context())
	c.turn.take(awaiting)
	served := make(chan struct{})
	go func() { newServed(d.Server, c, c).serve(); close(served) }()
	c.turn.take(over)
	if c.turn.take(serving) {
		t.Error("there is a turn behind the last one")
	}
	_, _ = io.WriteString(far, "POST / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, _ := io.ReadAll(far); len(got) > 0 {
		t.Errorf("it is answered twice: %q", got)
	}
	<-served
}

// A peer that is not admitted yet has sent nothing, and is told in time.
func TestStoppingServerAdmitsNobody(t *testing.T) {
	d := startDelegate(t, newAuthority(t), http.NotFoundHandler())
	d.draining.Store(true)
	f := newTestForwarder(t, d.ca, d.address, nil)
	s := startFront(t, f)
	resp, err := clientOf(s, false).Post(s.URL, "", strings.NewReader("x"))
	wantUnavailable(t, resp, err)
}

// A forwarder that wrote into the farewell hands it to its client.
func TestFarewellIsTheAnswer(t *testing.T) {
	for _, name := range []string{"HTTP/1", "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			s := startScripted(t, func(c *tls.Conn, n int) {
				r := bufio.NewReader(c)
				readRequest(t, r)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_, _ = r.ReadByte() // by now the connection was found alive
				c.Write(farewell)
				c.Close()
			})
			f := s.front(t, nil)
			c := clientOf(f.Server, name == "HTTP/2")
			defer c.CloseIdleConnections()
			resp, err := c.Post(f.URL, "", nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%v %v", resp, err)
			}
			eventually(t, "the connection is idle", func() bool { return f.forwarder.pool.idleCount() == 1 })
			resp, err = c.Post(f.URL, "", strings.NewReader(strings.Repeat("x", 8<<20)))
			wantUnavailable(t, resp, err)
			if n := s.count.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// Writes go on while the delegate stops, and none is lost.
func TestNoWriteIsLostByShutdown(t *testing.T) {
	f, d := startChainAnd(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			c := f.http1()
			for {
				resp, err := c.Post(f.URL, "", strings.NewReader("x"))
				if err != nil {
					t.Errorf("a write was broken off: %v", err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode == http.StatusServiceUnavailable {
					return
				}
			}
		})
	}
	eventually(t, "connections are in use", func() bool { return f.forwarder.pool.size() >= 4 })
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	writers.Wait()
}
