package serving

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"
)

// sharing starts a server on a Public whose socket a second listener shares, as
// another replica does.
func sharing(t *testing.T, http2 bool) (p *Public, s *httptest.Server, other net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if other, err = net.FileListener(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	p = newPublic(l)
	p.Open()
	s = httptest.NewUnstartedServer(p.Tell(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })))
	s.Listener.Close()
	s.Listener, s.EnableHTTP2 = p, http2
	s.StartTLS()
	t.Cleanup(s.Close)
	return p, s, other
}

// get returns whether the request went over a connection that was there before.
func get(t *testing.T, s *httptest.Server) (reused bool) {
	t.Helper()
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); string(body) != "ok" || err != nil {
		t.Errorf("%s %q %v", answer.Status, body, err)
	}
	return reused
}

func TestAHeadThatLeavesServesUntilItsClientsKnow(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			p, s, other := sharing(t, http2)
			if get(t, s); !get(t, s) {
				t.Error("the connection was not kept")
			}
			left := make(chan error, 1)
			go func() { left <- p.Leave(context.Background()) }()
			for !p.leaving.Load() {
				time.Sleep(time.Millisecond)
			}
			select {
			case <-left:
				t.Error("left before the client knew")
			case <-time.After(3 * leavePoll):
			}
			if !get(t, s) {
				t.Error("the last request did not come on the old connection")
			}
			if err := <-left; err != nil {
				t.Error(err)
			}
			// New connections are the other's now, and this server lives on.
			accepted := make(chan error, 1)
			go func() {
				c, err := other.Accept()
				if err == nil {
					c.Close()
				}
				accepted <- err
			}()
			if c, err := net.Dial("tcp", p.Addr().String()); err == nil {
				defer c.Close()
			}
			if err := <-accepted; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAHeadThatLeavesWaitsForSilentClientsNoLongerThanItMay(t *testing.T) {
	p, s, _ := sharing(t, true)
	get(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 5*leavePoll)
	defer cancel()
	if err := p.Leave(ctx); err != nil || ctx.Err() == nil {
		t.Errorf("%v before the time was over", err)
	}
}

func TestAHeadThatJoinsOthersTakesConnectionsOnceItIsReady(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPublic(l)
	accepted := make(chan error, 1)
	go func() {
		c, err := p.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case err := <-accepted:
		t.Errorf("accepted before it was ready: %v", err)
	case <-time.After(3 * leavePoll):
	}
	p.Open()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	p.Close()
	if _, err := p.Accept(); err == nil {
		t.Error("accepted after the end")
	}
	never := newPublic(l)
	go never.Close()
	if _, err := never.Accept(); err != net.ErrClosed {
		t.Error(err)
	}
}
