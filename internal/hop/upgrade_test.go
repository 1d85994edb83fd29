package hop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// switching is a delegate's handler that takes the connection over, as those of
// exec and port-forward do, and says something at once.
func switching(t *testing.T, use func(c net.Conn, r *bufio.Reader)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Connection") != "keep-alive, Upgrade" || r.Header.Get("Upgrade") != "SPDY/3.1" {
			t.Errorf("the upgrade arrived as %v", r.Header)
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4\r\n\r\nhello\n")
		use(c, rw.Reader)
	}
}

const upgradeRequest = "POST /exec?command=sh HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n"

// openTunnel sends an upgrade, with the client's first bytes right behind it,
// and reads up to the delegate's first.
func openTunnel(t *testing.T, f *front, first string) (*tls.Conn, *bufio.Reader) {
	t.Helper()
	c := f.dial(t)
	io.WriteString(c, upgradeRequest+first)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "SPDY/3.1" || resp.Header.Get("X-Stream-Protocol-Version") != "v4" {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q %v", line, err)
	}
	return c, r
}

func echo(c net.Conn, r *bufio.Reader) { io.Copy(c, r) }

func TestUpgradeLosesNoByte(t *testing.T) {
	f := startChain(t, switching(t, echo))
	c, r := openTunnel(t, f, "early\n")
	if line, err := r.ReadString('\n'); line != "early\n" {
		t.Fatalf("%q %v", line, err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go c.Write(large)
	got := make([]byte, len(large))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, large) {
		t.Errorf("the echo differs: %v", err)
	}
}

// A client that has said everything still hears the rest.
func TestUpgradeHalfCloseByTheClient(t *testing.T) {
	f := startChain(t, switching(t, func(c net.Conn, r *bufio.Reader) {
		b, err := io.ReadAll(r)
		fmt.Fprintf(c, "%s %v", b, err)
	}))
	c, r := openTunnel(t, f, "")
	io.WriteString(c, "all")
	c.CloseWrite()
	if b, err := io.ReadAll(r); string(b) != "all <nil>" || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

// And the other way round.
func TestUpgradeHalfCloseByTheDelegate(t *testing.T) {
	heard := make(chan string, 1)
	f := startChain(t, switching(t, func(c net.Conn, r *bufio.Reader) {
		closeWrite(c)
		b, _ := io.ReadAll(r)
		heard <- string(b)
	}))
	c, r := openTunnel(t, f, "")
	if b, err := io.ReadAll(r); len(b) > 0 || err != nil {
		t.Errorf("%q %v", b, err)
	}
	io.WriteString(c, "still here")
	c.Close()
	if got := <-heard; got != "still here" {
		t.Errorf("got %q", got)
	}
}

// A delegate that is done does not leave the tunnel open for ever.
func TestUpgradeEndsAfterTheDelegate(t *testing.T) {
	f := startChain(t, switching(t, func(net.Conn, *bufio.Reader) {}))
	f.forwarder.tunnelLinger = 20 * time.Millisecond
	c, r := openTunnel(t, f, "")
	io.ReadAll(r)
	eventually(t, "the tunnel is closed", func() bool {
		_, err := io.WriteString(c, "x")
		return err != nil
	})
}

func TestUpgradeEndsWithTheClient(t *testing.T) {
	ended := make(chan struct{})
	f := startChain(t, switching(t, func(c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r); close(ended) }))
	c, _ := openTunnel(t, f, "")
	c.NetConn().Close()
	<-ended
}

func TestClosedForwarderEndsTunnels(t *testing.T) {
	f := startChain(t, switching(t, echo))
	_, r := openTunnel(t, f, "")
	f.forwarder.Close()
	if _, err := r.ReadByte(); err == nil {
		t.Error("the tunnel is still open")
	}
}

// The bound on requests is not one on what they become.
func TestUpgradeOutlivesTheBound(t *testing.T) {
	upgrade := switching(t, echo)
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			<-r.Context().Done()
			return
		}
		upgrade(w, r)
	})
	f.forwarder.config.Timeout = time.Second
	c, r := openTunnel(t, f, "")
	// What begins now and is cut by its bound ends after the tunnel's.
	resp, err := f.http1().Get(f.URL)
	if err != nil || resp.StatusCode != 504 {
		t.Fatalf("%v %v", resp, err)
	}
	readAll(t, resp.Body)
	io.WriteString(c, "late\n")
	if line, err := r.ReadString('\n'); line != "late\n" {
		t.Errorf("%q %v", line, err)
	}
}

func TestRefusedUpgradeIsAnOrdinaryAnswer(t *testing.T) {
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "no")
	})
	c := f.dial(t)
	r := bufio.NewReader(c)
	for range 2 { // the connection goes on
		io.WriteString(c, upgradeRequest)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 403 || readAll(t, resp.Body) != "no" {
			t.Fatalf("%v %v", resp, err)
		}
	}
}

func TestUpgradeToSomethingElseIsBroken(t *testing.T) {
	s := startScripted(t, func(c *tls.Conn, n int) {
		readRequest(t, bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	})
	f := s.front(t, nil)
	c := f.dial(t)
	io.WriteString(c, upgradeRequest)
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("%q %v", b, err)
	}
}

// The stock server hands over the connection with what the backend said; the
// filters in front of it are not heard.
func TestUpgradeSaysWhatTheDelegateSaid(t *testing.T) {
	f := startStampedChain(t, switching(t, echo))
	c := f.dial(t)
	io.WriteString(c, upgradeRequest)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, "X-Stream-Protocol-Version": {"v4"}}
	if diff := cmp.Diff(want, resp.Header); diff != "" {
		t.Errorf("(- the delegate, + the front)\n%s", diff)
	}
}

// Whoever is behind the delegate may refuse to switch; what it says of that
// comes as it is, too. An answer of the delegate's own is an ordinary one.
func TestRefusedUpgradeSaysWhatWasSaidBehind(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		ours   bool
	}{
		"behind":   {http.Header{"X-Behind": {"1"}}, false},
		"delegate": {http.Header{"Audit-Id": {"delegate"}}, true},
	} {
		f := startStampedChain(t, func(w http.ResponseWriter, r *http.Request) {
			for key, values := range c.header {
				w.Header()[key] = values
			}
			w.WriteHeader(http.StatusTeapot)
		})
		conn := f.dial(t)
		io.WriteString(conn, upgradeRequest)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ours := resp.Header["Cache-Control"]; ours != c.ours || resp.StatusCode != http.StatusTeapot {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
		for key, values := range c.header {
			if got := resp.Header.Get(key); got != values[0] {
				t.Errorf("%s: %s is %q", name, key, got)
			}
		}
	}
}

// A delegate that is killed ends the tunnel as a crash does.
func TestKilledDelegateBreaksTheTunnel(t *testing.T) {
	s := startScripted(t, func(c *tls.Conn, n int) {
		readRequest(t, bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4\r\n\r\nhello\n")
	})
	f := s.front(t, nil)
	c, _ := openTunnel(t, f, "")
	var one [1]byte
	_, err := c.Read(one[:])
	if err == nil {
		t.Error("there was more")
	}
	eventually(t, "the tunnel is closed", func() bool {
		_, err := io.WriteString(c, strings.Repeat("x", 1000))
		return err != nil
	})
}
