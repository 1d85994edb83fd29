package hop

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// bufferSize holds two TLS records.
const bufferSize = 32 << 10

// buffers are for copying.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// sender sends the body of a request while the answer is being waited for: a
// delegate that answers early stops reading.
type sender struct {
	c    *conn
	head *head
	body io.Reader

	mu       sync.Mutex // of c.w and over
	over     bool       // c.w belongs to somebody else
	count    atomic.Int64
	complete atomic.Bool // everything was handed to the connection
	stop     atomic.Bool
	done     chan struct{} // closed when it has ended; nil before it starts
	err      error         // why it is not complete; read after done
}

// send writes the head and starts what sends the body.
func (x *exchange) send(c *conn) {
	x.head.write(c.w)
	if x.head.length == 0 {
		// If this fails the delegate may still have answered; reading will tell.
		_ = c.w.Flush()
		return
	}
	x.sender = &sender{c: c, head: &x.head, body: x.r.Body}
	if x.head.waits {
		_ = c.w.Flush()
		return
	}
	x.startSender()
}

func (x *exchange) startSender() {
	// Without it net/http would wait for the body before it sends an answer.
	_ = x.guard.client.EnableFullDuplex()
	x.sender.done = make(chan struct{})
	go x.sender.run()
}

// consumed tells whether some of the client's body is gone.
func (s *sender) consumed() bool { return s != nil && s.done != nil }

// early tells whether an answer that came now came before the body was sent.
func (s *sender) early() bool { return s != nil && !s.complete.Load() }

func (s *sender) run() {
	defer close(s.done)
	patience := time.AfterFunc(headPatience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.over {
			_ = s.c.w.Flush()
		}
	})
	defer patience.Stop()
	s.err = s.copy()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.err != nil {
		// The delegate must see that the body is cut off, and can say so.
		_ = s.c.w.Flush()
		_ = s.c.closeWrite()
	}
}

var errStopped = errors.New("the answer came before the body was sent")

func (s *sender) copy() error {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := s.body.Read(s.next(buf[:]))
		if s.stop.Load() {
			return errStopped
		}
		last := err == io.EOF || s.head.length > 0 && s.count.Load()+int64(n) == s.head.length
		if err != nil && err != io.EOF {
			return err
		}
		if err := s.write(buf[:n], last); err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

// next is the part of buf that may be filled: never more than was declared.
func (s *sender) next(buf []byte) []byte {
	if left := s.head.length - s.count.Load(); s.head.length > 0 && left < int64(len(buf)) {
		return buf[:left]
	}
	return buf
}

// write sends one piece, and the end of the body if it is the last.
func (s *sender) write(p []byte, last bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := s.count.Add(int64(len(p)))
	if last && count < s.head.length {
		return io.ErrUnexpectedEOF
	}
	// Set first: the answer to these bytes may be here before they are written.
	s.complete.Store(last)
	if s.head.length > 0 {
		s.c.w.Write(p)
	} else {
		writeChunk(s.c.w, p)
		if last {
			s.writeEnd()
		}
	}
	err := s.c.w.Flush()
	if err != nil {
		s.complete.Store(false)
	}
	return err
}

func writeChunk(w *bufio.Writer, p []byte) {
	if len(p) == 0 {
		return
	}
	w.Write(strconv.AppendInt(w.AvailableBuffer(), int64(len(p)), 16))
	w.WriteString("\r\n")
	w.Write(p)
	w.WriteString("\r\n")
}

// writeEnd writes the last chunk and the trailers, which the body's end has
// filled in.
func (s *sender) writeEnd() {
	s.c.w.WriteString("0\r\n")
	for _, key := range trailerNames(s.head.r.Trailer) {
		for _, v := range s.head.r.Trailer[key] {
			if httpguts.ValidHeaderFieldValue(v) {
				writeField(s.c.w, key, v)
			}
		}
	}
	s.c.w.WriteString("\r\n")
}

// finishSender ends the sender after a delivered answer and tells whether the
// connection is in a state to be used again.
func (x *exchange) finishSender(c *conn) bool {
	s := x.sender
	if s == nil {
		return true
	}
	if s.done == nil {
		return false
	}
	if s.early() {
		c.abort()
		x.leaveBody()
		return false
	}
	<-s.done
	// A server that has not read the body finds out behind its answer that a trailer is none.
	return s.err == nil && s.count.Load() <= maxReusedBody && len(trailerNames(x.r.Trailer)) == 0
}

// leaveBody ends the sender although the client is not done with the body.
func (x *exchange) leaveBody() {
	x.guard.settle()
	x.sender.stop.Store(true)
	if x.r.ProtoMajor == 1 {
		_ = x.guard.client.Flush()
		x.drainBody()
	}
	x.stopSender()
}

// drainBody reads what a client still sends to nobody: closing on it would
// destroy the answer on its way, and one that writes before it reads would never see it.
func (x *exchange) drainBody() {
	if err := x.guard.client.SetReadDeadline(time.Now().Add(x.forwarder.bodyLinger)); err != nil {
		return
	}
	<-x.sender.done
	_, _ = io.Copy(io.Discard, x.r.Body)
}

// stopSender makes the sender end at once, wherever it waits; its connection
// is already closed.
func (x *exchange) stopSender() {
	if !x.sender.consumed() {
		return
	}
	x.guard.settle()
	x.sender.stop.Store(true)
	if err := x.guard.client.SetReadDeadline(past); err == nil {
		<-x.sender.done
	}
}
