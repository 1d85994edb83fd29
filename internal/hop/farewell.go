package hop

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A server that stops cannot know whether a request is under way on a
// connection of HTTP/1.1 that looks idle. If it just closed the connection, the
// sender could not know whether its write was carried out. So it says farewell:
// it answers the request that may come, 503 with Retry-After, and serves none
// that comes after. A forwarder that sent one takes the farewell for the answer,
// which it is; one that did not finds something on an idle connection and leaves
// it alone.
//
// In each connection's life there is one moment at which the server stops taking
// its requests, and turn's mutex says which side of it a request is on:
//
//	       admitted        request        answered
//	opening --> awaiting -----> serving -----> awaiting    ... until the server stops:
//	   | refused    | farewell                    | farewell
//	   +----------> over <------------------------+
//
// HTTP/2 has GOAWAY for all this, and net/http sends it.

// turn is whose turn it is on a connection.
type turn struct {
	over chan struct{} // closed when the server need not wait for the connection

	mu    sync.Mutex // also held while a farewell is said
	phase phase
	conn  net.Conn // as it is served, nil before that
}

type phase int

const (
	// opening: the peer waits to be admitted and has sent nothing.
	opening phase = iota
	// awaiting: the next request may be under way.
	awaiting
	// serving: there is a request and no answer, or not all of it.
	serving
	// over: farewell was said, or others see to the end of the connection.
	over
)

func newTurn() turn { return turn{over: make(chan struct{})} }

// take moves to the phase next, unless all is over, and tells whether it did.
func (t *turn) take(next phase) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enter(next)
}

// enter is take for those who hold the mutex.
func (t *turn) enter(next phase) bool {
	if t.phase == over {
		return false
	}
	if t.phase = next; next == over {
		close(t.over)
	}
	return true
}

// dismiss says farewell unless a request is being served, which is answered
// first.
func (t *turn) dismiss(c io.Closer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.phase {
	case opening:
		c.Close()
		t.enter(over)
	case awaiting:
		_ = t.conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
		_, _ = t.conn.Write(farewell)
		t.conn.Close()
		t.enter(over)
	}
}

// welcome lets an admitted peer send requests, and tells whether it may: one
// that is refused during the handshake knows that it has sent nothing.
func (s *Server) welcome(c *peerConn, protocol string) bool {
	next := awaiting
	if protocol == "h2" {
		next = over
	}
	// In this order, here and in await: if it is too early to see that the
	// server drains, dismiss comes late enough to see the phase.
	return c.turn.take(next) && !s.draining.Load()
}

// dismiss says farewell to every peer as soon as it has its answer. It waits
// for that no longer than ctx.
func (s *Server) dismiss(ctx context.Context) error {
	conns := s.peers.all()
	for _, c := range conns {
		// Each on its own: the last steps of a handshake may have to be waited for.
		go c.turn.dismiss(c)
	}
	for _, c := range conns {
		select {
		case <-c.turn.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// farewell is the answer to a request that is not served. Like every answer with
// Retry-After it promises that nothing was done.
var farewell = func() []byte {
	status := apierrors.NewServiceUnavailable("the tier is stopping").Status()
	status.Kind, status.APIVersion = "Status", "v1"
	status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	body, _ := json.Marshal(status)
	answer := http.Response{
		StatusCode: http.StatusServiceUnavailable, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header:        http.Header{"Content-Type": {"application/json"}, "Retry-After": {"1"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	var b bytes.Buffer
	_ = answer.Write(&b)
	return b.Bytes()
}()
