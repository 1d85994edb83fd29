package hop

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		e    evidence
		want outcome
	}{
		"nothing sent":                     {evidence{}, replayed},
		"nothing sent, again":              {evidence{final: true}, unavailable},
		"write sent":                       {evidence{sent: true}, broken},
		"write sent, again":                {evidence{sent: true, final: true}, broken},
		"read sent":                        {evidence{sent: true, harmless: true}, replayed},
		"read sent, again":                 {evidence{sent: true, harmless: true, final: true}, unavailable},
		"read answered":                    {evidence{sent: true, harmless: true, answered: true}, broken},
		"client saw a status":              {evidence{sent: true, harmless: true, answered: true, begun: true}, broken},
		"client gone":                      {evidence{cut: errGone}, broken},
		"to end before the answer":         {evidence{cut: ErrEnd, sent: true, harmless: true}, unavailable},
		"a write to end before its answer": {evidence{cut: ErrEnd, sent: true}, broken},
		"to end in the answer":             {evidence{cut: ErrEnd, sent: true, harmless: true, answered: true, begun: true}, ended},
		"too slow":                         {evidence{cut: errTimeout, sent: true}, expired},
		"too slow in an interim answer":    {evidence{cut: errTimeout, sent: true, answered: true}, expired},
		"too slow after the status":        {evidence{cut: errTimeout, sent: true, answered: true, begun: true}, broken},
		"too slow before anything is out":  {evidence{cut: errTimeout, final: true}, expired},
	} {
		if got := c.e.outcome(); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

// lostAfter is a delegate that reads a request and dies.
func lostAfter(t *testing.T, say string) func(c *tls.Conn, n int) {
	return func(c *tls.Conn, n int) {
		if r := readRequest(t, bufio.NewReader(c)); r != nil {
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, say)
		}
	}
}

// wantUnavailable checks that the answer invites the client to come back.
func wantUnavailable(t *testing.T, resp *http.Response, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var status metav1.Status
	if err := json.Unmarshal([]byte(readAll(t, resp.Body)), &status); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || status.Kind != "Status" ||
		status.Reason != metav1.StatusReasonServiceUnavailable || !strings.Contains(status.Message, "tier ") {
		t.Errorf("got %s %v %+v", resp.Status, resp.Header, status)
	}
}

// wantBroken checks that the client got no answer at all, or not a whole one.
func wantBroken(t *testing.T, resp *http.Response, err error) {
	t.Helper()
	if err != nil {
		return
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil {
		t.Errorf("the client took it for an answer: %s %v %q", resp.Status, resp.Header, body)
	}
}

func bothProtocols(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Run("HTTP/1", func(t *testing.T) { test(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { test(t, true) })
}

func TestLostWriteBreaksTheStream(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			for _, body := range []string{"", "x", strings.Repeat("x", 100_000)} {
				s := startScripted(t, lostAfter(t, ""))
				f := s.front(t, nil)
				c := clientOf(f.Server, http2)
				req := must(http.NewRequest(method, f.URL, strings.NewReader(body)))
				// net/http's own Transport sends such requests again.
				req.Header.Set("Idempotency-Key", "k")
				req.GetBody = nil
				resp, err := c.Do(req)
				wantBroken(t, resp, err)
				if n := s.count.Load(); n != 1 {
					t.Errorf("%s of %d bytes was sent %d times", method, len(body), n)
				}
				c.CloseIdleConnections()
			}
		}
	})
}

func TestLostReadIsSentOnceMore(t *testing.T) {
	s := startScripted(t, func(c *tls.Conn, n int) {
		readRequest(t, bufio.NewReader(c))
		if n == 2 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			io.Copy(io.Discard, c)
		}
	})
	f := s.front(t, nil)
	resp, err := f.http1().Get(f.URL)
	if err != nil || readAll(t, resp.Body) != "ok" {
		t.Errorf("%v %v", resp, err)
	}
	f.forwarder.Close()
}

func TestLostReadIsUnavailableAfterTwo(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		for _, method := range []string{"GET"} {
			s := startScripted(t, lostAfter(t, ""))
			f := s.front(t, nil)
			c := clientOf(f.Server, http2)
			resp, err := c.Do(must(http.NewRequest(method, f.URL, nil)))
			wantUnavailable(t, resp, err)
			if n := s.count.Load(); n != 2 {
				t.Errorf("sent %d times", n)
			}
			c.CloseIdleConnections()
		}
	})
}

func TestLostReadIsNotSentAgainWhereItCounts(t *testing.T) {
	s := startScripted(t, lostAfter(t, ""))
	f := s.front(t, func(c *ForwarderConfig) { c.Once = func(r *http.Request) bool { return r.URL.Path == "/once" } })
	c := f.http1()
	c.Transport.(*http.Transport).DisableKeepAlives = true // it would send it again itself
	resp, err := c.Get(f.URL + "/once")
	wantBroken(t, resp, err)
	if n := s.count.Load(); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

func TestLostUpgradeIsNotSentAgain(t *testing.T) {
	s := startScripted(t, lostAfter(t, ""))
	f := s.front(t, nil)
	c := f.dial(t)
	io.WriteString(c, "GET /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("got %q, %v", b, err)
	}
	if n := s.count.Load(); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

func TestCutAnswerNeverEndsCleanly(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		for name, say := range map[string]string{
			"status line":    "HTTP/1.1 20",
			"header":         "HTTP/1.1 200 OK\r\nContent-Type: te",
			"sized body":     "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
			"no body yet":    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
			"chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n12345",
			"between chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
			"last chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n",
			"trailer":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
			"until closed":   "HTTP/1.1 200 OK\r\n\r\n12345",
			"only interim":   "HTTP/1.1 103 Early Hints\r\n\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				s := startScripted(t, lostAfter(t, say))
				f := s.front(t, nil)
				c := clientOf(f.Server, http2)
				defer c.CloseIdleConnections()
				resp, err := c.Get(f.URL)
				wantBroken(t, resp, err)
				// Nor does it depend on the server in front to notice.
				if !aborts(func() { f.forwarder.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) }) {
					t.Error("the handler did not abort")
				}
			})
		}
	})
}

func aborts(f func()) (aborted bool) {
	defer func() { aborted = recover() == http.ErrAbortHandler }()
	f()
	return
}

func TestHeaderOfAnAnswerIsBounded(t *testing.T) {
	for name, piece := range map[string]string{"one line": strings.Repeat("x", 1000), "many lines": "A: b\r\n"} {
		t.Run(name, func(t *testing.T) {
			s := startScripted(t, func(c *tls.Conn, n int) {
				readRequest(t, bufio.NewReader(c))
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ")
				piece := strings.Repeat(piece, 100)
				for range 4 * maxAnswerHead / len(piece) {
					if _, err := io.WriteString(c, piece); err != nil {
						return
					}
				}
				io.WriteString(c, "\r\n\r\n")
				io.Copy(io.Discard, c)
			})
			f := s.front(t, nil)
			c := f.http1()
			c.Transport.(*http.Transport).MaxResponseHeaderBytes = 100 << 20
			resp, err := c.Post(f.URL, "", nil)
			wantBroken(t, resp, err)
		})
	}
}

func TestNonsenseIsNoAnswer(t *testing.T) {
	for name, say := range map[string]string{
		"not HTTP":           "SSH-2.0-OpenSSH_9.2p1\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"length and chunked": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"other encoding":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"encoded twice":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"negative length":    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"folded line":        "HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\nContent-Length: 0\r\n\r\n",
		"no colon":           "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
		"space before colon": "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
		"CR in value":        "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n",
		"status of 2 digits": "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
		"status 099":         "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
		"bad chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
		"switch unasked":     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"endless interim":    strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 200),
	} {
		t.Run(name, func(t *testing.T) {
			s := startScripted(t, lostAfter(t, say))
			f := s.front(t, nil)
			resp, err := f.http1().Post(f.URL, "", nil)
			wantBroken(t, resp, err)
		})
	}
}

func TestUnavailableDelegateIsNotDialled(t *testing.T) {
	s := startScripted(t, func(c *tls.Conn, n int) {})
	f := s.front(t, func(c *ForwarderConfig) { c.Available = func() error { return errors.New("it is not prepared") } })
	for _, method := range []string{"GET", "POST"} {
		resp, err := f.http1().Do(must(http.NewRequest(method, f.URL, strings.NewReader("x"))))
		wantUnavailable(t, resp, err)
	}
	if s.count.Load() != 0 {
		t.Error("it was dialled")
	}
}

func TestNobodyListensIsUnavailable(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	address := l.Addr().String()
	l.Close()
	f := newTestForwarder(t, newAuthority(t), address, nil)
	s := startFront(t, f)
	resp, err := clientOf(s, false).Post(s.URL, "", strings.NewReader("x"))
	wantUnavailable(t, resp, err)
}

// A dead process' listener is held open: connections hang in its backlog.
func TestLostDelegateFreesTheBacklog(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	asked := make(chan struct{}, 1)
	f := newTestForwarder(t, newAuthority(t), l.Addr().String(), func(c *ForwarderConfig) {
		c.Available = func() error { asked <- struct{}{}; return nil }
	})
	s := startFront(t, f)
	go func() {
		// Wherever the request is by then, it must not hang.
		<-asked
		f.DelegateLost()
	}()
	start := time.Now()
	resp, err := clientOf(s, false).Post(s.URL, "", strings.NewReader("x"))
	wantUnavailable(t, resp, err)
	if d := time.Since(start); d > dialTimeout/2 {
		t.Errorf("it took %v", d)
	}
}

func TestTooSlowIsATimeout(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		s := startScripted(t, func(c *tls.Conn, n int) { io.Copy(io.Discard, c) })
		f := s.front(t, func(c *ForwarderConfig) { c.Timeout = 50 * time.Millisecond })
		c := clientOf(f.Server, http2)
		defer c.CloseIdleConnections()
		for _, method := range []string{"GET", "POST"} {
			resp, err := c.Do(must(http.NewRequest(method, f.URL, strings.NewReader("x"))))
			if err != nil {
				t.Fatal(err)
			}
			var status metav1.Status
			json.Unmarshal([]byte(readAll(t, resp.Body)), &status)
			if resp.StatusCode != 504 || resp.Header["Retry-After"] != nil || status.Reason != metav1.StatusReasonTimeout {
				t.Errorf("%s: %s %v %+v", method, resp.Status, resp.Header, status)
			}
		}
	})
}

// A client that never finishes its body is not waited for either, be the delegate there or mute.
func TestSlowBodyIsATimeout(t *testing.T) {
	mute := must(net.Listen("tcp", "127.0.0.1:0"))
	defer mute.Close()
	unheard := newTestForwarder(t, newAuthority(t), mute.Addr().String(), nil)
	for name, f := range map[string]*front{
		"there": startChain(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }),
		"mute":  {Server: startFront(t, unheard), forwarder: unheard},
	} {
		f.forwarder.config.Timeout = 50 * time.Millisecond
		c := f.dial(t)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 504 || !resp.Close {
			t.Errorf("%s: %v %v", name, resp, err)
		}
	}
}

func TestSlowAnswerIsCutOff(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		f.forwarder.config.Timeout = 500 * time.Millisecond
		c := clientOf(f.Server, http2)
		defer c.CloseIdleConnections()
		resp, err := c.Get(f.URL)
		if err != nil {
			t.Fatal(err)
		}
		wantBroken(t, resp, nil)
	})
}

// The bound holds for a client that does not read, too.
func TestSlowReaderIsCutOff(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 32<<10))
			}
		})
		f.forwarder.config.Timeout = 500 * time.Millisecond
		ended := make(chan struct{})
		s := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			f.forwarder.ServeHTTP(w, r)
		}))
		c := clientOf(s, http2)
		defer c.CloseIdleConnections()
		resp, err := c.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("it is still being served")
		}
		resp.Body.Close()
	})
}

func TestLongRunningHasNoBound(t *testing.T) {
	release := make(chan struct{})
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-release
		io.WriteString(w, "end")
	})
	f.forwarder.config.Timeout = 500 * time.Millisecond
	f.forwarder.config.LongRunning = func(r *http.Request) bool { return r.URL.Path == "/watch" }
	c := f.http1()
	cut, err := c.Get(f.URL + "/list")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Get(f.URL + "/watch")
	if err != nil {
		t.Fatal(err)
	}
	wantBroken(t, cut, nil) // by now the bound is over for both
	close(release)
	if got := readAll(t, resp.Body); got != "end" {
		t.Errorf("got %q", got)
	}
}

func TestClosedForwarderIsUnavailable(t *testing.T) {
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {})
	f.forwarder.Close()
	resp, err := f.http1().Post(f.URL, "", nil)
	wantUnavailable(t, resp, err)
}
