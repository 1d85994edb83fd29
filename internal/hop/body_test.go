package hop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// A delegate may refuse what it has not read, and a client that writes before
// it reads must get that answer.
func TestAnswerBeforeTheBodyIsSent(t *testing.T) {
	const size = 8 << 20
	refuse := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "too large")
	}
	eachProtocol(t, refuse, func(t *testing.T, f *front, c *http.Client) {
		f.forwarder.bodyLinger = 10 * time.Millisecond // one client here is never done
		endless, never := io.Pipe()
		defer never.Close()
		for i, body := range []io.ReadCloser{
			io.NopCloser(bytes.NewReader(make([]byte, size))),
			io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, size)))), // in chunks
			endless,
		} {
			req := must(http.NewRequest("POST", f.URL, body))
			if i == 0 {
				req.ContentLength = size
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, resp.Body); resp.StatusCode != 413 || got != "too large" {
				t.Errorf("%s %q", resp.Status, got)
			}
		}
		// What was not sent must not be the next exchange's.
		resp, err := c.Get(f.URL)
		if err != nil || readAll(t, resp.Body) != "too large" {
			t.Errorf("%v %v", resp, err)
		}
	})
}

// The connection is not used again when part of a body is still under way.
func TestEarlyAnswerCostsTheConnection(t *testing.T) {
	s := startScripted(t, func(c *tls.Conn, n int) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			t.Error(err)
		}
		io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, r)
	})
	f := s.front(t, nil)
	c := f.http1()
	for range 2 {
		resp, err := c.Post(f.URL, "", strings.NewReader(strings.Repeat("x", 1<<20)))
		if err != nil || resp.StatusCode != 401 {
			t.Fatalf("%v %v", resp, err)
		}
		resp.Body.Close()
	}
	if n := s.count.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestConnectionIsReusedAfterWholeExchanges(t *testing.T) {
	seen := make(chan string, 100)
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.RemoteAddr
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	c := f.http1()
	for i := range 20 {
		resp, err := c.Post(f.URL, "", strings.NewReader(strings.Repeat("x", i*5000)))
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp.Body)
		eventually(t, "the connection is idle again", func() bool { return f.forwarder.pool.idleCount() == 1 })
	}
	first := <-seen
	for range 19 {
		if addr := <-seen; addr != first {
			t.Fatalf("another connection: %s and %s", first, addr)
		}
	}
}

// What the server has not read when it answers it may not read at all.
func TestConnectionIsNotReusedAfterLargeBodies(t *testing.T) {
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	for size, idle := range map[int]int{maxReusedBody: 1, maxReusedBody + 1: 0} {
		f.forwarder.DelegateLost()
		resp, err := f.http1().Post(f.URL, "", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		eventually(t, "the connection is released", func() bool { return f.forwarder.pool.size() == idle && f.forwarder.pool.idleCount() == idle })
	}
}

// A delegate that wants the connection closed may do so at any time.
func TestConnectionIsNotReusedAgainstTheDelegatesWish(t *testing.T) {
	s := startScripted(t, func(c *tls.Conn, n int) {
		r := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n")
		}
	})
	f := s.front(t, nil)
	for range 3 {
		resp, err := f.http1().Post(f.URL, "", nil)
		if err != nil || resp.Header["Connection"] != nil {
			t.Fatalf("%v %v", resp, err)
		}
		resp.Body.Close()
	}
	if n := s.count.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

func TestExpectContinue(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		t.Run(fmt.Sprint(wanted), func(t *testing.T) {
			f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Expect") != "100-continue" {
					t.Errorf("Expect is %q", r.Header.Get("Expect"))
				}
				if !wanted {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				io.Copy(w, r.Body)
			})
			c := f.dial(t)
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
			r := bufio.NewReader(c)
			first, err := textproto.NewReader(r).ReadLine()
			if err != nil {
				t.Fatal(err)
			}
			if !wanted {
				if !strings.Contains(first, "401") {
					t.Errorf("got %q", first)
				}
				return
			}
			if first != "HTTP/1.1 100 Continue" {
				t.Fatalf("got %q", first)
			}
			r.ReadString('\n')
			io.WriteString(c, "body")
			resp, err := http.ReadResponse(r, nil)
			if err != nil || readAll(t, resp.Body) != "body" {
				t.Errorf("%v %v", resp, err)
			}
		})
	}
}

// Whom the delegate is a proxy to may ask for the body as well, or say that it
// goes on though nobody asked.
func TestContinueOfTheDelegatePassesThrough(t *testing.T) {
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		s := startScripted(t, func(c *tls.Conn, n int) {
			r := bufio.NewReader(c)
			req := readRequest(t, r)
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, "HTTP/1.1 100 Continue\r\nX-From: behind\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, c)
		})
		c := s.front(t, nil).dial(t)
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n"+expect+"\r\nbody")
		said := string(must(io.ReadAll(c)))
		if strings.Count(said, "HTTP/1.1 100 Continue\r\n") != 2 || !strings.Contains(said, "X-From: behind\r\n\r\nHTTP/1.1 200 OK") {
			t.Errorf("%q: got %q", expect, said)
		}
	}
}

func TestInformationalAnswersPassThrough(t *testing.T) {
	hints := func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			w.Header().Set("Link", fmt.Sprintf("</%d>", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		io.WriteString(w, "end")
	}
	eachProtocol(t, hints, func(t *testing.T, f *front, c *http.Client) {
		var links []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			links = append(links, fmt.Sprint(code, h.Get("Link"), len(h["Content-Type"])))
			return nil
		}}
		req := must(http.NewRequest("GET", f.URL, nil))
		resp, err := c.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp.Body); got != "end" || resp.Header.Get("Link") != "" {
			t.Errorf("%q %v", got, resp.Header)
		}
		if got := strings.Join(links, " "); got != "103</0>0 103</1>0 103</2>0" {
			t.Errorf("got %s", got)
		}
	})
}

func TestTrailersBothWays(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Announced")
		io.Copy(w, r.Body)
		w.Header().Set("Announced", r.Trailer.Get("Asked"))
		w.Header().Set(http.TrailerPrefix+"Surprise", "yes")
	}
	eachProtocol(t, handler, func(t *testing.T, f *front, c *http.Client) {
		req := must(http.NewRequest("POST", f.URL, io.MultiReader(strings.NewReader("body"))))
		req.Trailer = http.Header{"Asked": {"value"}}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp.Body); got != "body" {
			t.Errorf("got %q", got)
		}
		if resp.Trailer.Get("Announced") != "value" || resp.Trailer.Get("Surprise") != "yes" {
			t.Errorf("got %v", resp.Trailer)
		}
	})
}

// A body that ends too soon must not look whole to the delegate. (net/http takes
// the end of what a client says for its leaving, so it gets no answer.)
func TestShortBodyIsSeenByTheDelegate(t *testing.T) {
	for name, head := range map[string]string{
		"sized":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
		"chunked": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				failed <- err
				w.WriteHeader(http.StatusBadRequest)
			})
			c := f.dial(t)
			io.WriteString(c, head)
			c.CloseWrite()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil && resp.StatusCode != 400 {
				t.Errorf("%v", resp)
			}
			if err := <-failed; err != io.ErrUnexpectedEOF {
				t.Errorf("the delegate got %v", err)
			}
		})
	}
}

// A filter of ours may cut a body off. The delegate must not take it for whole,
// and what it says to that is the answer.
func TestBodyThatCannotBeRead(t *testing.T) {
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != io.ErrUnexpectedEOF {
			t.Errorf("the delegate got %v", err)
		}
		w.WriteHeader(http.StatusBadRequest)
	})
	limited := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/short" {
			r.Body = io.NopCloser(io.LimitReader(r.Body, 10))
		} else {
			r.Body = http.MaxBytesReader(w, r.Body, 10)
		}
		f.forwarder.ServeHTTP(w, r)
	}))
	const body = "12345678901"
	for path, body := range map[string]io.Reader{
		"/":        strings.NewReader(body),
		"/chunked": io.MultiReader(strings.NewReader(body)),
		"/short":   strings.NewReader(body),
	} {
		resp, err := clientOf(limited, false).Post(limited.URL+path, "", body)
		if err != nil || resp.StatusCode != 400 {
			t.Fatalf("%v %v", resp, err)
		}
		resp.Body.Close()
	}
}

func TestBodylessAnswers(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/head":
			w.Header().Set("Content-Length", "1234")
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(304)
		}
	}
	eachProtocol(t, handler, func(t *testing.T, f *front, c *http.Client) {
		for range 3 { // so that a wrong end would be somebody's beginning
			for path, want := range map[string]int{"/head": 200, "/204": 204, "/304": 304} {
				method := "GET"
				if path == "/head" {
					method = "HEAD"
				}
				resp, err := c.Do(must(http.NewRequest(method, f.URL+path, nil)))
				if err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, resp.Body); got != "" || resp.StatusCode != want {
					t.Errorf("%s: %s %q", path, resp.Status, got)
				}
				if path == "/head" && resp.ContentLength != 1234 {
					t.Errorf("the length of a HEAD is %d", resp.ContentLength)
				}
				if path == "/304" && resp.Header.Get("Etag") != `"x"` {
					t.Errorf("got %v", resp.Header)
				}
			}
		}
	})
}

func (p *pool) idleCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// Nor may the answer be lost to a client that reads nothing before it has
// written a body that fills every buffer on the way.
func TestAnswerIsThereAfterAWholeBody(t *testing.T) {
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	const size = 32 << 20
	c := f.dial(t)
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatalf("cannot write: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusForbidden || readAll(t, resp.Body) != "no\n" || !resp.Close {
		t.Errorf("%v %v", resp, err)
	}
}
