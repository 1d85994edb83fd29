package hop

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// likeNetHTTP runs the test with the handler served by net/http, and by us.
func likeNetHTTP(t *testing.T, h http.HandlerFunc, test func(t *testing.T, address string)) {
	t.Run("net/http", func(t *testing.T) { test(t, serveByNetHTTP(t, h)) })
	t.Run("ours", func(t *testing.T) { test(t, serveRaw(t, h)) })
}

const chunkedHead = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"

// What cannot be read to its end ends the connection, and the answer says so: the next write must not be sent on it.
func TestASpoiledBodyEndsTheConnectionSaid(t *testing.T) {
	for name, request := range map[string]string{
		"trailer":    chunkedHead + "1\r\nx\r\n0\r\nX-T: " + strings.Repeat("t", 5000) + "\r\n\r\n",
		"chunk size": chunkedHead + "1\r\nx\r\nzz\r\n",
		"too much":   fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", maxReusedBody+2),
	} {
		for _, reads := range []bool{false, true} {
			if name == "too much" && reads {
				continue
			}
			t.Run(fmt.Sprint(name, " read ", reads), func(t *testing.T) {
				likeNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
					if reads {
						_, _ = io.Copy(io.Discard, r.Body)
					}
					_, _ = io.WriteString(w, "answer")
				}, func(t *testing.T, address string) {
					c, r := dialRaw(t, address)
					_, _ = io.WriteString(c, request)
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						t.Fatal(err)
					}
					if readAll(t, resp.Body); !resp.Close {
						t.Error("the answer does not say that the connection ends")
					}
				})
			})
		}
	}
}

// The trailers of one client do not end the connection under the next one's write, though that is found out behind an answer
// that did not say so.
func TestNoWriteIsLostBehindATrailer(t *testing.T) {
	var served atomic.Int64
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/write" {
			served.Add(1)
		} else {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, "ok")
	}, func(t *testing.T, f *front, c *http.Client) {
		const writes = 200
		other := f.http2()
		defer other.CloseIdleConnections()
		served.Store(0)
		for i := range writes {
			r := must(http.NewRequest(http.MethodPost, f.URL+"/trailed", io.MultiReader(strings.NewReader(strings.Repeat("x", maxReusedBody/2)))))
			r.Trailer = http.Header{"X-T": {strings.Repeat("t", 5000)}}
			if resp, err := other.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			resp, err := c.Post(f.URL+"/write", "", strings.NewReader("body"))
			if err != nil {
				t.Fatalf("write %d: %v", i, err)
			}
			readAll(t, resp.Body)
		}
		if n := served.Load(); n != writes {
			t.Errorf("%d writes were answered, %d served", writes, n)
		}
	})
}

// Who watches with a body that nobody reads is missed like anybody else.
func TestAHandlerThatReadsNoBodyLearnsThatItsPeerIsGone(t *testing.T) {
	asked, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/closed" {
			_ = r.Body.Close()
		}
		_ = http.NewResponseController(w).Flush()
		asked <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}
	missed := func(t *testing.T) {
		t.Helper()
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Fatal("it was not told")
		}
	}
	for _, body := range []string{"Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"} {
		for _, path := range []string{"/", "/closed"} {
			t.Run(path+strings.Fields(body)[0], func(t *testing.T) {
				likeNetHTTP(t, handler, func(t *testing.T, address string) {
					c, _ := dialRaw(t, address)
					_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n"+body)
					<-asked
					c.Close()
					missed(t)
				})
			})
		}
	}
	eachProtocol(t, handler, func(t *testing.T, f *front, c *http.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		resp, err := c.Do(must(http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/", strings.NewReader("x"))))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		<-asked
		cancel()
		missed(t)
	})
}

// A handler that reads a body piece by piece, behind the begin of its answer, gets each when it comes, whoever has read it.
func TestABodyIsReadBehindTheBeginOfItsAnswer(t *testing.T) {
	proceed, want := make(chan struct{}), strings.Repeat("piece", maxFetched/4)
	address := serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		if r.ContentLength < 0 {
			<-proceed // what comes first is fetched
		}
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(buf[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	}))
	c, r := dialRaw(t, address)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(proceed) })
	for _, piece := range []string{"", "again", "third"} {
		if piece != "" {
			_, _ = fmt.Fprintf(c, "5\r\n%s\r\n", piece)
		} else {
			piece = "first"
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != piece {
			t.Fatalf("%q %v, want %q", got, err, piece)
		}
	}
	_, _ = io.WriteString(c, "0\r\n\r\n")
	readAll(t, resp.Body)
	for _, size := range []int{1, 5000, maxFetched, maxFetched + 1, len(want)} {
		go func() {
			_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, want[:size])
		}()
		if got := readAnswerBody(t, r); got != want[:size] {
			t.Errorf("%d bytes come back as %d", size, len(got))
		}
	}
}

// Who takes a connection over reads alone, gets all that nobody had read, and is not told that the peer is gone.
func TestWhoTakesOverReadsAlone(t *testing.T) {
	const missing = "Content-Length: 100\r\n\r\n"
	for name, c := range map[string]struct {
		times      int // for what is a race
		before     func(http.ResponseWriter, *http.Request)
		sent, want string
	}{
		"status":        {1, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }, missing, "hello"},
		"status, body":  {100, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }, "Content-Length: 3\r\n\r\nabc", "abchello"},
		"flush":         {1, func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, missing, "hello"},
		"body's close":  {1, func(_ http.ResponseWriter, r *http.Request) { _ = r.Body.Close() }, missing, "hello"},
		"a large close": {1, func(_ http.ResponseWriter, r *http.Request) { _ = r.Body.Close() }, "Content-Length: 1000000\r\n\r\n", "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c.before(w, r)
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_ = r.Body.Close() // by which nothing is read beside
				_, _ = fmt.Fprintf(conn, "taken %v\n", r.Context().Err())
				line, err := rw.ReadString('\n')
				_, _ = fmt.Fprintf(conn, "%q %v\n", line, err)
			}))
			for range c.times {
				conn, r := dialRaw(t, address)
				_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n"+c.sent)
				for line := ""; !strings.HasPrefix(line, "taken"); {
					var err error
					if line, err = r.ReadString('\n'); err != nil {
						t.Fatal(err)
					} else if strings.HasPrefix(line, "taken") && line != "taken <nil>\n" {
						t.Error(line)
					}
				}
				_, _ = io.WriteString(conn, "hello\n")
				if line, err := r.ReadString('\n'); line != fmt.Sprintf("%q <nil>\n", c.want+"\n") {
					t.Errorf("%q %v", line, err)
				}
			}
		})
	}
}

// signalled says when it is read from.
type signalled struct {
	io.Reader
	read chan struct{}
}

func (s signalled) Read(p []byte) (int, error) { s.read <- struct{}{}; return s.Reader.Read(p) }

// Before a connection lingers, who reads the body in a handler that was left is waited for, however much is left of it.
func TestALeftReaderIsWaitedFor(t *testing.T) {
	for _, length := range []int64{100, maxReusedBody + 2} {
		pr, pw := io.Pipe()
		read := make(chan struct{}, 10)
		b := &requestBody{inner: signalled{pr, read}, length: length}
		go b.Read(make([]byte, 1))
		<-read
		if b.awaitEnd(0) || b.isEmptied() {
			t.Errorf("%d bytes: nobody reads", length)
		}
		pw.CloseWithError(io.ErrUnexpectedEOF)
		<-b.emptied
	}
}

// A deadline of the handler's is met by its own reads alone.
func TestADeadlineIsNotMetByWhoFetches(t *testing.T) {
	likeNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_ = c.Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(300 * time.Millisecond):
		}
		_ = c.SetReadDeadline(time.Time{})
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v %v", body, err, r.Context().Err())
	}, func(t *testing.T, address string) {
		c, r := dialRaw(t, address)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(400*time.Millisecond, func() { _, _ = io.WriteString(c, "body") })
		if got := readAll(t, resp.Body); got != "body <nil> <nil>" {
			t.Error(got)
		}
	})
}

// What a peer sends behind the last request of a connection does not take the answer away.
func TestWhatIsUnreadTakesNoAnswerAway(t *testing.T) {
	const size = 400_000
	c, r := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = w.Write(make([]byte, size))
	})))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"+strings.Repeat("x", 40_000))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond) // the connection would be closed by then
	if got := len(readAll(t, resp.Body)); got != size {
		t.Errorf("%d bytes came", got)
	}
}

// Who is refused keeps the connection, up to what net/http reads for nobody; so does the hop.
func TestARefusalOfAMiddlingBodyKeepsBothConnections(t *testing.T) {
	refuse := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Peer", r.RemoteAddr)
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no!")
	}
	eachProtocol(t, refuse, func(t *testing.T, f *front, c *http.Client) {
		peers, closed := map[string]bool{}, 0
		for i := range 40 {
			resp, err := c.Post(f.URL, "", strings.NewReader(strings.Repeat("x", []int{1000, 20_000, 60_000, 200_000}[i%4])))
			if err != nil {
				t.Fatal(err)
			}
			if resp.Close {
				closed++
			}
			readAll(t, resp.Body)
			peers[resp.Header.Get("X-Peer")] = true
		}
		// One at most may have come so slowly that it was not waited for.
		if len(peers) > 2 || closed > 1 {
			t.Errorf("%d connections of the hop, %d answers that close the client's", len(peers), closed)
		}
	})
}

// A body that does not come holds its answer up no longer than moments.
func TestABodyThatDoesNotComeHoldsUpNoAnswer(t *testing.T) {
	c, r := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusForbidden || !resp.Close {
		t.Errorf("%s, closes %v", resp.Status, resp.Close)
	}
}

// Nobody is told to send a body to which there is an answer.
func TestNoContinueBehindAnAnswer(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"status": func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
		"write":  func(w http.ResponseWriter) { _, _ = io.WriteString(w, "no") },
	} {
		t.Run(name, func(t *testing.T) {
			likeNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				begin(w)
				_, _ = r.Body.Read(make([]byte, 1))
			}, func(t *testing.T, address string) {
				c, r := dialRaw(t, address)
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
				if line, err := r.ReadString('\n'); err != nil || strings.Contains(line, "100") {
					t.Errorf("%q %v", line, err)
				}
			})
		})
	}
}

// A handler finds trailers that nobody announced.
func TestTrailersComeWithTheBody(t *testing.T) {
	likeNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, r.Trailer)
	}, func(t *testing.T, address string) {
		c, r := dialRaw(t, address)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: u\r\n\r\n")
		if got := readAnswerBody(t, r); got != "map[X-T:[u]]" {
			t.Error(got)
		}
	})
}

// A handler that was left, as by a timeout, reads nothing while the connection lingers.
func TestNobodyReadsBesideALingeringConnection(t *testing.T) {
	answered, left := make(chan struct{}), make(chan error, 1)
	c, r := dialRaw(t, serveRaw(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := r.Body
		go func() {
			<-answered
			_, err := body.Read(make([]byte, 1))
			left <- err
		}()
		w.WriteHeader(http.StatusGatewayTimeout)
	})))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || !resp.Close {
		t.Fatal(resp, err)
	}
	close(answered)
	if err := <-left; err != http.ErrBodyReadAfterClose {
		t.Errorf("it reads, with %v", err)
	}
}

// A connection that waits holds nothing of the request that it had.
func TestAWaitingConnectionHoldsNoRequest(t *testing.T) {
	address := serveRaw(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	for range 20 {
		c, r := dialRaw(t, address)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX-Large: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
		readAnswerBody(t, r)
	}
	eventually(t, "what 20 requests of 1 MiB held is free", func() bool { return live()-before < 10<<20 })
}
