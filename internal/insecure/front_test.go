package insecure

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/internal/tier"
)

// patience bounds waits for what happens at once.
const patience = 30 * time.Second

func TestAHeadThatIsAwayIsUnavailableAndNotAsked(t *testing.T) {
	var reached atomic.Int32
	f := start(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	f.setAway(errors.New("it has not been ready yet"))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		resp, body := f.do(method, "/api", strings.NewReader("x"))
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(body, "it has not been ready yet") {
			t.Errorf("%s: %s %v %s", method, resp.Status, resp.Header, body)
		}
		wantStatus(t, resp, body, metav1.StatusReasonServiceUnavailable)
	}
	// Who does not belong here is not told how the head is.
	if resp, _ := f.do(http.MethodGet, "/api", nil, "Host", "evil.example"); resp.StatusCode != 403 {
		t.Error(resp.Status)
	}
	f.setAway(nil)
	if resp, _ := f.do(http.MethodGet, "/api", nil); resp.StatusCode != 200 || reached.Load() != 1 {
		t.Errorf("%s, the head was asked %d times", resp.Status, reached.Load())
	}
}

// Nobody waits for a dead head, whose listener stays open.
func TestHeadLostGivesUpConnectionsInTheMaking(t *testing.T) {
	f := start(t, nil)
	answered := make(chan string, 1)
	go func() {
		resp, body := f.do(http.MethodPost, "/api", strings.NewReader("x"))
		answered <- resp.Status + body
	}()
	c := must(f.behind.Accept()) // and no TLS handshake follows
	defer c.Close()
	f.HeadLost("aggregator-0")
	// Without HeadLost it would be a timeout.
	if answer := <-answered; !strings.HasPrefix(answer, "503") || !strings.Contains(answer, "went away") {
		t.Error(answer)
	}
}

func TestBodiesAreForwardedWhole(t *testing.T) {
	f := start(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %x %v", r.RequestURI, sha256.Sum256(body), err)
	})
	sent := strings.Repeat("0123456789abcdef", 3<<16)
	resp, body := f.do(http.MethodPut, "/api/a%2Fb?x=", strings.NewReader(sent))
	if want := fmt.Sprintf("/api/a%%2Fb?x= %x <nil>", sha256.Sum256([]byte(sent))); resp.StatusCode != 200 || body != want {
		t.Errorf("%s: %.200s", resp.Status, body)
	}
}

// upgrading is a head that echoes lines on an upgraded connection.
func upgrading(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	for {
		line, err := buffered.ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprint(c, line)
	}
}

func TestUpgradesPassAndEndWithClose(t *testing.T) {
	f := start(t, upgrading)
	c := must(net.Dial("tcp", f.listener.Addr().String()))
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "POST /exec HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
	r := bufio.NewReader(c)
	if resp := must(http.ReadResponse(r, nil)); resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "SPDY/3.1" {
		t.Fatal(resp.Status)
	}
	fmt.Fprintln(c, "hello")
	if line := must(r.ReadString('\n')); line != "hello\n" {
		t.Error(line)
	}
	f.End()
	fmt.Fprintln(c, "still there")
	if line := must(r.ReadString('\n')); line != "still there\n" {
		t.Error(line)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open after Close: %v", err)
	}
}

func TestEndClosesThePortEndsWatchesAndLetsTheRestFinish(t *testing.T) {
	release, listing := make(chan struct{}), make(chan struct{})
	f := start(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		if isWatch(r) {
			<-r.Context().Done()
			return
		}
		close(listing)
		<-release
		fmt.Fprint(w, "last\n")
	})
	watch := must(http.Get(f.URL() + "/api/v1/pods?watch=true"))
	defer watch.Body.Close()
	events := bufio.NewReader(watch.Body)
	if line := must(events.ReadString('\n')); line != "first\n" {
		t.Fatal(line)
	}
	listed := make(chan string, 1)
	go func() {
		resp := must(http.Get(f.URL() + "/api/v1/pods"))
		defer resp.Body.Close()
		listed <- string(must(io.ReadAll(resp.Body)))
	}()
	<-listing

	f.End()
	f.End()
	if c, err := net.Dial("tcp", f.listener.Addr().String()); err == nil {
		c.Close()
		t.Error("the port is open")
	}
	// The end of a watch is an end, and no broken connection.
	if _, err := events.ReadByte(); err != io.EOF {
		t.Errorf("the watch ends with %v", err)
	}
	select {
	case body := <-listed:
		t.Errorf("a list was cut off: %q", body)
	default:
	}
	close(release)
	if body := <-listed; body != "first\nlast\n" {
		t.Errorf("listed %q", body)
	}
}

func TestCloseBreaksOffWhatIsLeft(t *testing.T) {
	begun := make(chan struct{})
	f := start(t, func(_ http.ResponseWriter, r *http.Request) {
		// Only who has read the body is told that the client is gone.
		_, _ = io.Copy(io.Discard, r.Body)
		close(begun)
		<-r.Context().Done()
	})
	failed := make(chan error, 1)
	go func() {
		_, err := http.Post(f.URL()+"/api/v1/namespaces", "application/json", strings.NewReader("{}"))
		failed <- err
	}()
	<-begun
	f.End()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("an answer came out of nowhere")
	}
}

func TestCloseWithoutServeFreesThePort(t *testing.T) {
	l := listen(t)
	f := New(Config{Listener: l, Head: tier.Aggregator, TLS: &tls.Config{}})
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	must(net.Listen("tcp", l.Addr().String())).Close()
}
