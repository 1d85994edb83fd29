package hop

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
)

// A process that stops ends its clients' watches as the serving tier would: they
// resume elsewhere, and none takes it for a crash.
func TestAnAnswerThatIsToEndEndsCleanly(t *testing.T) {
	watch := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "event\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	ca := newAuthority(t)
	d := startDelegate(t, ca, http.HandlerFunc(watch))
	f := newTestForwarder(t, ca, d.address, nil)
	stop := make(chan struct{})
	stopping := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		go func() {
			select {
			case <-stop:
				cancel(ErrEnd)
			case <-ctx.Done():
			}
		}()
		f.ServeHTTP(w, r.WithContext(ctx))
	})
	server := startFront(t, stopping)
	var bodies []*bufio.Reader
	for _, http2 := range []bool{false, true} {
		c := clientOf(server, http2)
		defer c.CloseIdleConnections()
		resp, err := c.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := bufio.NewReader(resp.Body)
		if line, err := body.ReadString('\n'); line != "event\n" {
			t.Fatalf("%q %v", line, err)
		}
		bodies = append(bodies, body)
	}
	close(stop)
	for i, body := range bodies {
		if _, err := body.ReadByte(); err != io.EOF {
			t.Errorf("HTTP/%d: got %v, want a clean end", i+1, err)
		}
	}
}
