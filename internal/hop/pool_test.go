package hop

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// farewells are the ways in which a delegate leaves a connection that is idle.
var farewells = map[string]func(c *tls.Conn){
	"closed":             func(c *tls.Conn) { c.Close() },
	"killed":             func(c *tls.Conn) { c.NetConn().Close() },
	"said farewell only": func(c *tls.Conn) { c.CloseWrite() },
	"said too much":      func(c *tls.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n") },
}

// A write on a connection that the delegate has left is a lost write. The next
// one must not be sent on it.
func TestNoWriteOnAConnectionThatWasLeft(t *testing.T) {
	for name, leave := range farewells {
		t.Run(name, func(t *testing.T) {
			left, end := make(chan struct{}), make(chan struct{})
			defer close(end)
			s := startScripted(t, func(c *tls.Conn, n int) {
				r := bufio.NewReader(c)
				for range 2 - n%2 { // the first connection takes one request
					readRequest(t, r)
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
				if n == 1 {
					leave(c)
					left <- struct{}{}
				}
				<-end
			})
			f := s.front(t, nil)
			post := func() {
				resp, err := f.http1().Post(f.URL, "", strings.NewReader(""))
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("%v %v", resp, err)
				}
				resp.Body.Close()
			}
			post()
			<-left
			post()
			post()
			if n := s.count.Load(); n != 2 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// The farewell may come in one piece with the answer, and be read with it.
func TestFarewellBehindTheAnswer(t *testing.T) {
	s := startScripted(t, func(c *tls.Conn, n int) {
		readRequest(t, bufio.NewReader(c))
		wire := c.NetConn().(*corked)
		wire.cork()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		c.CloseWrite()
		if err := wire.uncork(); err != nil {
			t.Error(err)
		}
		io.Copy(io.Discard, c)
	})
	f := s.front(t, nil)
	for range 20 {
		resp, err := f.http1().Post(f.URL, "", nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		resp.Body.Close()
	}
}

func TestLostDelegateClosesIdleConnections(t *testing.T) {
	closed := make(chan error, 10)
	s := startScripted(t, func(c *tls.Conn, n int) {
		r := bufio.NewReader(c)
		readRequest(t, r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, err := r.ReadByte()
		closed <- err
	})
	f := s.front(t, nil)
	for range 2 {
		resp, err := f.http1().Get(f.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		eventually(t, "the connection is idle", func() bool { return f.forwarder.pool.idleCount() == 1 })
		f.forwarder.DelegateLost()
		if err := <-closed; err == nil {
			t.Error("the delegate got something instead")
		}
	}
}

// A connection of an earlier life does not come back into the pool.
func TestConnectionOfAnEarlierLifeIsNotKept(t *testing.T) {
	release, started := make(chan struct{}), make(chan struct{})
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) { started <- struct{}{}; <-release })
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := f.http1().Get(f.URL)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("a request in flight was broken off: %v %v", resp, err)
			return
		}
		resp.Body.Close()
	}()
	<-started
	f.forwarder.DelegateLost()
	close(release)
	<-done
	eventually(t, "the connection is gone", func() bool { return f.forwarder.pool.size() == 0 })
}

func TestIdleConnectionsExpire(t *testing.T) {
	var wait = make(chan struct{})
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) { <-wait })
	for range 3 {
		go func() {
			if resp, err := f.http1().Get(f.URL); err == nil {
				resp.Body.Close()
			}
		}()
	}
	pool := f.forwarder.pool
	eventually(t, "three connections", func() bool { return pool.size() == 3 })
	close(wait)
	eventually(t, "they are idle", func() bool { return pool.idleCount() == 3 })
	pool.mu.Lock()
	for _, c := range pool.idle[:2] {
		c.idleSince = time.Now().Add(-clientIdleTimeout)
	}
	pool.mu.Unlock()
	pool.expire()
	if pool.idleCount() != 1 || pool.size() != 1 {
		t.Errorf("%d idle of %d", pool.idleCount(), pool.size())
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.sweep == nil {
		t.Error("nobody looks after the last one")
	}
}

func TestServerWaitsLongerThanTheClient(t *testing.T) {
	if serverIdleTimeout < 2*clientIdleTimeout {
		t.Error("the server might close a connection that is about to be used")
	}
}

// After Refresh requests go on connections for which TLS was asked anew, and no request fails.
func TestRefreshLeavesConnections(t *testing.T) {
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }))
	asked := 0
	cert := ca.client(head2core)
	f := newTestForwarder(t, ca, d.address, func(c *ForwarderConfig) {
		c.TLS = c.TLS.Clone()
		c.TLS.Certificates = nil
		c.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { asked++; return &cert, nil }
	})
	for i := range 6 {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("%d: %d %s", i, w.Code, w.Body)
		}
		if want := 1 + i/3; asked != want {
			t.Errorf("after %d requests TLS was asked %d times who we are, want %d", i+1, asked, want)
		}
		if i == 2 {
			f.Refresh()
		}
	}
}

// A connection that is in use while Refresh is called is closed after its answer: the next request is on another
// one, for which TLS was asked anew.
func TestRefreshLeavesConnectionsInUse(t *testing.T) {
	ca := newAuthority(t)
	begun, end := make(chan struct{}), make(chan struct{})
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			begun <- struct{}{}
			<-end
		}
		io.WriteString(w, r.RemoteAddr)
	}))
	f := newTestForwarder(t, ca, d.address, nil)
	get := func(path string) string {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	long := make(chan string)
	go func() { long <- get("/long") }()
	<-begun
	f.Refresh()
	close(end)
	before := <-long
	if n := f.pool.size(); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
	// The other end of a socket has no address of its own.
	if after := get("/"); after == before && after != "@" {
		t.Errorf("the next request was on the connection of before, %s", after)
	}
}
