package hop

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// dialRaw connects to what serveRaw returned.
func dialRaw(t *testing.T, address string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c := must(net.Dial("tcp", address)).(*net.TCPConn)
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, bufio.NewReader(c)
}

func readAnswerBody(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A handler is told when its peer is gone, be there a body or none.
func TestAHandlerLearnsThatItsPeerIsGone(t *testing.T) {
	for name, request := range map[string]string{
		"no body": "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"a body":  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
		"chunks":  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			asked, gone := make(chan struct{}), make(chan struct{})
			c, _ := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				//lint:ignore SA1019 k8s.io/apiserver uses it.
				notified := w.(http.CloseNotifier).CloseNotify()
				_, _ = io.Copy(io.Discard, r.Body)
				close(asked)
				<-r.Context().Done()
				<-notified
				close(gone)
			})))
			_, _ = io.WriteString(c, request)
			<-asked
			c.Close()
			select {
			case <-gone:
			case <-time.After(20 * time.Second):
				t.Fatal("it was not told")
			}
		})
	}
}

// awaitLook waits for somebody to look for the peer of w.
func awaitLook(t *testing.T, w http.ResponseWriter) {
	l := &w.(*answerWriter).conn.lookout
	eventually(t, "somebody looks out", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.looking
	})
}

// awaitAhead waits for something to be read ahead on the connection of w.
func awaitAhead(t *testing.T, w http.ResponseWriter) {
	l := &w.(*answerWriter).conn.lookout
	eventually(t, "something is read ahead", l.peek)
}

// Looking for the peer takes nothing from what it says next, and cancels nobody.
func TestLookingAheadLosesNothing(t *testing.T) {
	looking := make(chan struct{})
	c, r := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ahead":
			awaitLook(t, w)
			looking <- struct{}{}
			awaitAhead(t, w)
		case "/looking":
			awaitLook(t, w)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Context().Err() != nil {
			t.Error(err, r.Context().Err())
		}
		io.WriteString(w, r.URL.Path+string(body))
	})))
	for range 20 {
		_, _ = io.WriteString(c, "GET /ahead HTTP/1.1\r\nHost: a\r\n\r\n")
		<-looking
		_, _ = io.WriteString(c, "POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
		if got := readAnswerBody(t, r) + readAnswerBody(t, r); got != "/ahead/quickabc" {
			t.Fatalf("%q", got)
		}
		_, _ = io.WriteString(c, "GET /looking HTTP/1.1\r\nHost: a\r\n\r\n")
		if got := readAnswerBody(t, r); got != "/looking" {
			t.Fatalf("%q", got)
		}
	}
}

// What was read ahead belongs to whoever takes the connection over.
func TestWhatWasReadAheadIsHandedOver(t *testing.T) {
	looking := make(chan struct{})
	c, r := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		awaitLook(t, w)
		close(looking)
		awaitAhead(t, w)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if n := rw.Reader.Buffered(); n == 0 {
			t.Error("what was read ahead is not there")
		}
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		io.WriteString(conn, strings.ToUpper(line))
		if _, err := w.Write([]byte("x")); err != http.ErrHijacked {
			t.Error(err)
		}
	})))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-looking
	_, _ = io.WriteString(c, "raw\n")
	if got := string(must(io.ReadAll(r))); got != "HTTP/1.1 101 Switching Protocols\r\n\r\nRAW\n" {
		t.Errorf("%q", got)
	}
}

// A request is over when whoever took its connection over finds the peer gone.
func TestARequestEndsWithTheConnectionThatWasTakenOver(t *testing.T) {
	ended := make(chan struct{})
	c, _ := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		go io.Copy(io.Discard, rw)
		<-r.Context().Done()
		close(ended)
	})))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\nmore")
	c.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

// What bounds the wait for a request bounds neither its body nor its answer.
func TestPatienceIsOverWithTheRequest(t *testing.T) {
	const patience = 100 * time.Millisecond
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	var set lookouts
	var l lookout
	l.of(near, &set)
	set.add(&l)
	read := func() error {
		l.take()
		_, err := near.Read(make([]byte, 1))
		return err
	}
	l.patience(patience)
	if err := read(); !isTimeout(err) {
		t.Errorf("waiting for a request ends with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &answerWriter{cancel: cancel}
	for name, wait := range map[string]func(){
		"a body": func() {
			if err := read(); err != nil {
				t.Errorf("a body is read with %v", err)
			}
		},
		"an answer": func() {
			l.watch(w)
			<-ctx.Done()
		},
	} {
		ctx, cancel = context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		w.cancel = func() { t.Errorf("%s has its peer taken for gone", name) }
		l.patience(patience)
		l.begin(w)
		if name == "a body" {
			time.AfterFunc(3*patience, func() { far.Write([]byte("x")) })
		}
		wait()
		l.end()
	}
	// What a handler asks for holds for it.
	l.begin(w)
	if err := l.limitReads(w, time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := read(); !isTimeout(err) {
		t.Errorf("a handler's own deadline: %v", err)
	}
	l.end()
	l.patience(time.Hour)
	go far.Write([]byte("x"))
	if err := read(); err != nil {
		t.Errorf("a handler's deadline outlives it: %v", err)
	}
}

// A handler's deadline is for what it reads: it is not taken for the peer's end.
func TestAReadDeadlineIsOverWithTheBody(t *testing.T) {
	const d = 200 * time.Millisecond
	canceled := make(chan bool, 1)
	likeNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d))
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			canceled <- true
		case <-time.After(3 * d):
			canceled <- false
		}
	}, func(t *testing.T, address string) {
		c, _ := dialRaw(t, address)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
		if <-canceled {
			t.Error("the peer is there, and is taken for gone")
		}
	})
}

// A handler that was left, as by a timeout, ends nothing that is served behind it.
func TestAHandlerThatWasLeftEndsNothing(t *testing.T) {
	var first http.ResponseWriter
	asked, served := make(chan struct{}), make(chan error, 1)
	c, r := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first == nil {
			first = w
			return
		}
		close(asked)
		select {
		case <-r.Context().Done():
			served <- r.Context().Err()
		case <-time.After(5 * lookoutTick):
			served <- nil
		}
	})))
	ask := func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }
	ask()
	readAnswerBody(t, r)
	left := http.NewResponseController(first)
	_, _ = left.SetReadDeadline(past), left.SetWriteDeadline(past) // the answer may be here before its end is noted
	ask()
	<-asked
	if left.SetReadDeadline(past) == nil || left.SetWriteDeadline(past) == nil {
		t.Error("it may")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	readAnswerBody(t, r)
}

// deadlineCount counts those that are set for reading.
type deadlineCount struct {
	net.Conn
	set *atomic.Int64
}

func (d deadlineCount) SetReadDeadline(t time.Time) error {
	d.set.Add(1)
	return d.Conn.SetReadDeadline(t)
}

// A deadline costs as much as a small answer's bytes: requests in a row share one.
func TestRequestsInARowShareADeadline(t *testing.T) {
	var count atomic.Int64
	c, r := dialRaw(t, serveThrough(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(c net.Conn) net.Conn {
		return deadlineCount{c, &count}
	}))
	for range 10 {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		readAnswerBody(t, r)
	}
	if n := count.Load(); n > 4 { // where the machine stalls, the peer is looked for
		t.Errorf("10 requests set %d", n)
	}
}

// Who is gone is gone once.
func TestAHandlerIsToldOnceThatItsPeerIsGone(t *testing.T) {
	times := make(chan int, 1)
	likeNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		//lint:ignore SA1019 k8s.io/apiserver uses it.
		notified := w.(http.CloseNotifier).CloseNotify()
		<-r.Context().Done()
		n, end := 0, time.After(10*lookoutTick)
		for {
			select {
			case <-notified:
				n++
				continue
			case <-end:
			}
			times <- n
			return
		}
	}, func(t *testing.T, address string) {
		c, _ := dialRaw(t, address)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.Close()
		if n := <-times; n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}
