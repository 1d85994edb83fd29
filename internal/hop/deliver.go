package hop

import (
	"cmp"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
)

// deliver hands a to the client, body and all. When it returns nil the client
// has the whole answer and c is at the end of it.
func (x *exchange) deliver(c *conn, a *answer) error {
	if err := x.guard.begin(); err != nil {
		return err
	}
	if x.head.upgrade && a.value("Audit-Id") == "" {
		// Every answer of a tier has one: this is from a server that the delegate
		// handed the connection over to, and as with one that does switch
		// protocols, nothing of ours belongs in it.
		h := x.w.Header()
		clear(h)
		h["Date"] = nil
	}
	setFields(x.w.Header(), a)
	if a.early && x.r.ProtoMajor == 1 {
		// What is left of the body must not be taken for the next request.
		x.w.Header().Set("Connection", "close")
	}
	x.w.WriteHeader(a.status)
	if a.length == 0 {
		return nil
	}
	b := body{conn: c, answer: a, w: x.w, flush: x.flusher(a)}
	if err := b.copy(); err != nil {
		return err
	}
	if a.length == unknownLength {
		return x.deliverTrailers(c, a)
	}
	return nil
}

// flusher is what brings a part of an answer to the client at once, nil if the
// answer is better sent in whole buffers.
func (x *exchange) flusher(a *answer) func() error {
	if a.length >= 0 && !eventStream(a) {
		return nil
	}
	return x.guard.client.Flush
}

func eventStream(a *answer) bool {
	for _, f := range a.fields {
		if f.name == "Content-Type" {
			media, _, _ := mime.ParseMediaType(f.value)
			return media == "text/event-stream"
		}
	}
	return false
}

// setFields puts the headers of a into h. What the delegate says replaces what
// an outer filter said before, except for lists.
func setFields(h http.Header, a *answer) {
	typed := false
	values := make([]string, len(a.fields)) // one allocation for all
	for i, f := range a.fields {
		if connectionField(f.name, a.options) || f.name == "Trailer" && a.length != unknownLength {
			continue
		}
		typed = typed || f.name == "Content-Type"
		if isList(f.name) || seen(a.fields[:i], f.name) {
			h[f.name] = append(h[f.name], f.value)
			continue
		}
		values[i] = f.value
		h[f.name] = values[i : i+1 : i+1]
	}
	if !typed {
		// The delegate chose not to say what it is; net/http would guess.
		h["Content-Type"] = nil
	}
}

// isList tells which headers are added to.
func isList(name string) bool {
	return name == "Warning" || name == "Vary" || name == "Set-Cookie"
}

func seen(before []field, name string) bool {
	return slices.ContainsFunc(before, func(f field) bool { return f.name == name })
}

// connectionField tells whether a header is only about the hop's connection.
func connectionField(name string, options []string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade", trunkHeader:
		return true
	}
	return len(options) > 0 && slices.Contains(options, strings.ToLower(name))
}

// inform passes an interim answer on.
func (x *exchange) inform(a *answer) error {
	h := x.w.Header()
	ours := h.Clone()
	clear(h)
	setFields(h, a)
	delete(h, "Content-Type")
	x.w.WriteHeader(a.status)
	clear(h)
	for key, values := range ours {
		h[key] = values
	}
	return nil
}

// body is the body of an answer on its way.
type body struct {
	conn   *conn
	answer *answer
	w      io.Writer
	flush  func() error
}

var errTruncated = errors.New("the delegate's answer is cut off")

func (b *body) copy() error {
	switch b.answer.length {
	case unknownLength:
		return b.copyFrom(httputil.NewChunkedReader(b.conn.r))
	case untilClosed:
		if err := b.copyFrom(b.conn.r); err != nil {
			return err
		}
		if b.conn.truncated() {
			return errTruncated
		}
		return nil
	}
	return b.copySized(b.answer.length)
}

// ride hands to the client an answer whose head came on c and whose body is on the lane, and lets c go.
func (x *exchange) ride(c *conn, a *answer) error {
	x.riding = true
	a.fields = slices.Clone(a.fields) // they are c's
	x.lane.confirm()
	defer x.lane.abandon()
	err := x.guard.ride(x.lane)
	if err != nil || a.close || a.length != 0 {
		x.forwarder.pool.discard(c)
	} else {
		x.forwarder.pool.put(c)
	}
	if err != nil || a.length != 0 {
		return cmp.Or(err, errTruncated)
	}
	if err := x.guard.begin(); err != nil {
		return err
	}
	setFields(x.w.Header(), a)
	delete(x.w.Header(), "Content-Length") // of the head alone
	x.w.WriteHeader(a.status)
	x.forwarder.meter.onTrunk.Inc()
	defer x.forwarder.meter.onTrunk.Dec()
	if err := x.copyLane(); err != nil {
		return err
	}
	x.guard.stop()
	return nil
}

// copyLane copies what comes on the lane. It flushes, like copyFrom, before it waits.
func (x *exchange) copyLane() error {
	for {
		if x.lane.waiting() {
			if err := x.guard.client.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
		p, err := x.lane.next()
		if p == nil {
			return err
		}
		if _, err = x.w.Write(*p); err != nil {
			return err // and p is not used again: HTTP/2 may still be at it
		}
		x.lane.done(p)
	}
}

// copySized writes what is already read straight from the reader's buffer: a
// small answer comes in one piece with its head.
func (b *body) copySized(left int64) error {
	if n := min(int64(b.conn.r.Buffered()), left); n > 0 {
		p, _ := b.conn.r.Peek(int(n))
		if _, err := b.w.Write(p); err != nil {
			return err
		}
		b.conn.r.Discard(int(n))
		left -= n
	}
	if left == 0 {
		return nil
	}
	limited := io.LimitedReader{R: b.conn.r, N: left}
	if err := b.copyFrom(&limited); err != nil {
		return err
	}
	if limited.N > 0 {
		return errTruncated
	}
	return nil
}

// copyFrom flushes, if at all, whenever the next read may have to wait: before
// the first one, so that a client of a watch knows that it is accepted, and
// after each that left nothing behind. A watch that waits holds no buffer. The first flush is what
// tells an answer of many parts from a short one, whose length the client is told; the next ones are left out while there is more.
func (b *body) copyFrom(r io.Reader) error {
	flushed := false
	for {
		if b.flush != nil && !b.ready() && !(flushed && b.conn.more(b.part())) {
			if err := b.flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
			flushed = true
			if b.answer.length < 0 { // or there may be no more to wait for
				_, _ = b.conn.r.Peek(b.part()) // what is wrong is told by the read
			}
		}
		if err := b.copySome(r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// part is how many bytes of the answer bring something: what follows a chunk's data does not.
func (b *body) part() int {
	if b.answer.length == unknownLength {
		return len("\r\n") + 1
	}
	return 1
}

// ready tells whether something of the answer is in the reader's buffer.
func (b *body) ready() bool { return b.conn.r.Buffered() >= b.part() }

// copySome copies until what follows may have to be waited for.
func (b *body) copySome(r io.Reader) error {
	buf := buffers.Get().(*[bufferSize]byte)
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			if _, err := b.w.Write(buf[:n]); err != nil {
				return err // and buf is not used again: HTTP/2 may still be at it
			}
		}
		if err != nil || b.flush != nil && !b.ready() {
			buffers.Put(buf)
			return err
		}
	}
}

// deliverTrailers reads what follows the last chunk.
func (x *exchange) deliverTrailers(c *conn, a *answer) error {
	lines := headReader{r: c.r, left: maxAnswerHead}
	trailers, err := lines.fields(nil)
	if err != nil || len(trailers) == 0 {
		return err
	}
	// Only a chunked answer can have trailers, and flushing makes it one.
	_ = x.guard.client.Flush()
	h := x.w.Header()
	for _, t := range trailers {
		if announced(a, t.name) {
			h.Add(t.name, t.value)
		} else {
			h.Add(http.TrailerPrefix+t.name, t.value)
		}
	}
	return nil
}

func announced(a *answer, name string) bool {
	for _, f := range a.fields {
		if f.name != "Trailer" {
			continue
		}
		for t := range strings.SplitSeq(f.value, ",") {
			if strings.EqualFold(strings.TrimSpace(t), name) {
				return true
			}
		}
	}
	return false
}
