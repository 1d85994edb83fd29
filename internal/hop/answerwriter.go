package hop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxWhole is up to where an answer that says nothing of its length is told with it, if
	// it is not flushed. It is net/http's own: whether there is a length can be seen.
	maxWhole = 2048
	// maxSniffed is what the type of an answer is guessed from.
	maxSniffed = 512
	// maxWithHead is how much of a body is copied to leave with the head.
	maxWithHead = 8 << 10
	// before and behind a chunk that is no larger than a piece.
	chunkHead = len("10000\r\n")
	chunkTail = len("\r\n")
)

// answerWriter is the http.ResponseWriter of a served connection. A client of the head must not
// be able to tell it from net/http's: when an answer has a length or comes in chunks, what
// its type is taken for, which headers a status must not have. Like every ResponseWriter it
// is for one goroutine at a time.
type answerWriter struct {
	conn    *served
	cancel  context.CancelFunc // of the request's context
	request *http.Request
	body    *requestBody // nil if the request has none
	header  http.Header

	status   int // 0 as long as there is none
	length   int64
	written  int64
	typed    bool     // the type needs no guess
	trailed  bool     // there may be trailers
	trailers []string // that were announced
	chunked  bool
	closes   bool // the connection ends with the answer
	said     bool // the handler says so
	hijacked bool
	over     bool
	err      error // of the connection

	head *piece // nil before there is a status, and when it has left
	sent bool
	held *piece // what of the body leaves next, behind room for the size of a chunk; nil for nothing

	continuing sync.Mutex // held while the peer is told to continue, and from the answer on
	continued  bool

	notify struct {
		sync.Mutex
		lost bool
		ch   chan bool
	}
}

// newAnswer returns the answer to r, and makes of r what handlers get.
func newAnswer(c *served, r *http.Request) *answerWriter {
	ctx, cancel := context.WithCancel(c.ctx)
	w := &answerWriter{conn: c, cancel: cancel, header: http.Header{}, length: unknownLength, closes: r.Close}
	r.RemoteAddr, r.TLS = c.remote, c.state
	if r.Body != http.NoBody {
		w.body = newRequestBody(w, r)
		r.Body = w.body
	}
	*r = *r.WithContext(ctx) // trailers come to this one
	w.request, c.now = r, w
	c.begin(w)
	return w
}

// gone is called when the peer has gone away.
func (w *answerWriter) gone() {
	w.cancel()
	w.notify.Lock()
	defer w.notify.Unlock()
	if !w.notify.lost {
		w.notify.lost = true
		w.tell()
	}
}

// tell is for those who hold notify.
func (w *answerWriter) tell() {
	if w.notify.lost && w.notify.ch != nil {
		select {
		case w.notify.ch <- true:
		default:
		}
	}
}

// CloseNotify implements http.CloseNotifier.
func (w *answerWriter) CloseNotify() <-chan bool {
	w.notify.Lock()
	defer w.notify.Unlock()
	if w.notify.ch == nil {
		w.notify.ch = make(chan bool, 1)
		w.tell()
	}
	return w.notify.ch
}

// Header implements http.ResponseWriter.
func (w *answerWriter) Header() http.Header { return w.header }

// keepContinue has the peer not be told to send the body from now on.
func (w *answerWriter) keepContinue() {
	if w.body != nil && w.body.expects {
		w.continuing.Lock()
		defer w.continuing.Unlock()
		w.continued = true
	}
}

// sendContinue tells the peer to send the body, unless it has an answer already.
func (w *answerWriter) sendContinue() {
	w.continuing.Lock()
	defer w.continuing.Unlock()
	if !w.continued {
		w.continued = true
		_, _ = w.conn.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// framing are the headers that are not taken over from a handler as they are.
var framing = map[string]bool{"Content-Length": true, "Transfer-Encoding": true}

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(status int) {
	switch {
	case w.hijacked || w.over || w.status != 0: // the first one counts
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.inform(status)
		return
	}
	w.keepContinue()
	w.status = status
	w.head = heads.Get().(*piece)
	w.writeHead(status)
	if _, given := w.header["Date"]; !given {
		w.head.b = append(w.head.b, "Date: "...)
		w.head.b = time.Now().UTC().AppendFormat(w.head.b, http.TimeFormat)
		w.head.b = append(w.head.b, "\r\n"...)
	}
	w.frame()
}

// inform sends an interim answer.
func (w *answerWriter) inform(status int) {
	w.continuing.Lock()
	defer w.continuing.Unlock()
	if status == http.StatusContinue {
		if w.continued {
			return
		}
		w.continued = true
	}
	w.head = heads.Get().(*piece)
	w.writeHead(status)
	w.head.b = append(w.head.b, "\r\n"...)
	w.write(w.head.b)
	w.head.putIn(&heads)
	w.head = nil
}

// writeHead writes the status and the headers, but for those that tell how the answer ends.
func (w *answerWriter) writeHead(status int) {
	b := append(w.head.b, "HTTP/1.1 "...)
	b = append(strconv.AppendInt(b, int64(status), 10), ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = strconv.AppendInt(append(b, "status code "...), int64(status), 10)
	}
	w.head.b = append(b, "\r\n"...)
	_ = w.header.WriteSubset(w.head, framing)
}

// frame finds out from the headers how the answer is to end.
func (w *answerWriter) frame() {
	h := w.header
	_, w.typed = h["Content-Type"]
	w.typed = w.typed || h.Get("Content-Encoding") != "" || len(h["Transfer-Encoding"]) > 0
	w.said = h.Get("Connection") == "close"
	w.closes = w.closes || w.said
	if !w.bodyAllowed() {
		return
	}
	w.chunked = len(h["Transfer-Encoding"]) > 0
	for name := range h {
		w.trailed = w.trailed || strings.HasPrefix(name, http.TrailerPrefix)
	}
	for _, v := range h["Trailer"] {
		w.trailed = true
		for name := range strings.SplitSeq(v, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); httpguts.ValidTrailerHeader(name) {
				w.trailers = append(w.trailers, name)
			}
		}
	}
	if given := h.Get("Content-Length"); given != "" && !w.chunked {
		if n, err := strconv.ParseInt(given, 10, 64); err == nil && n >= 0 {
			w.length = n
		}
	}
}

func (w *answerWriter) bodyAllowed() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(p []byte) (int, error) {
	if err := w.writable(len(p)); err != nil {
		return 0, err
	}
	for rest := p; len(rest) > 0; {
		n, err := w.add(rest)
		if err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (w *answerWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// writable tells why n bytes of the body cannot be written.
func (w *answerWriter) writable(n int) error {
	switch {
	case w.hijacked:
		return http.ErrHijacked
	case w.over:
		return errOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if n > 0 && !w.bodyAllowed() {
		return http.ErrBodyNotAllowed
	}
	if w.written += int64(n); w.length >= 0 && w.written > w.length {
		return http.ErrContentLength
	}
	return w.err
}

var errOver = errors.New("the answer is over")

// add takes some of p, and sends what there is no more room for.
func (w *answerWriter) add(p []byte) (int, error) {
	if w.request.Method == http.MethodHead {
		if room := maxSniffed + chunkHead - len(w.piece().b); room > 0 {
			w.held.b = append(w.held.b, p[:min(room, len(p))]...)
		}
		return len(p), nil
	}
	if w.sent && !w.chunked && w.held == nil && len(p) >= pieceSize {
		w.write(p)
		return len(p), w.err
	}
	room := pieceSize - chunkTail - len(w.piece().b)
	if room == 0 {
		return 0, w.send(false)
	}
	n := min(room, len(p))
	w.held.b = append(w.held.b, p[:n]...)
	return n, nil
}

// piece returns what is held, something new if nothing is.
func (w *answerWriter) piece() *piece {
	if w.held == nil {
		w.held = pieces.Get().(*piece)
		w.held.b = w.held.b[:chunkHead]
	}
	return w.held
}

// Flush implements http.Flusher.
func (w *answerWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *answerWriter) FlushError() error {
	if err := w.writable(0); err != nil {
		return err
	}
	return w.send(false)
}

// send sends what is held, and the end of the answer behind the last of it.
func (w *answerWriter) send(last bool) error {
	if w.err != nil {
		return w.err
	}
	if !w.sent {
		w.endHead(last)
	}
	body := w.framed(last)
	if w.head != nil {
		if len(body) <= maxWithHead {
			w.head.b, body = append(w.head.b, body...), nil
		}
		w.write(w.head.b)
		w.head.putIn(&heads)
		w.head, w.sent = nil, true
	}
	if len(body) > 0 && w.err == nil {
		w.write(body)
	}
	if w.held != nil {
		w.held.putIn(&pieces)
		w.held = nil
	}
	return w.err
}

// endHead writes how the answer ends, now that it has to be known, and the end of the head.
func (w *answerWriter) endHead(last bool) {
	isHead := w.request.Method == http.MethodHead
	if w.bodyAllowed() {
		if !w.typed && w.held != nil && len(w.held.b) > chunkHead {
			w.head.line("Content-Type", http.DetectContentType(w.held.b[chunkHead:]))
		}
		switch {
		case w.length >= 0 || w.chunked:
		case last && !w.trailed && w.written <= maxWhole && (w.written > 0 || !isHead):
			w.length = w.written
		default:
			w.chunked = true
		}
		if w.chunked = w.chunked && !isHead; w.chunked {
			w.head.line("Transfer-Encoding", "chunked")
		}
		if w.length >= 0 {
			w.head.line("Content-Length", strconv.FormatInt(w.length, 10))
		}
	}
	if w.body != nil && !w.body.ended.Load() {
		// Who switches protocols takes all that comes, and trailers are the handler's.
		if !last && w.status != http.StatusSwitchingProtocols && len(w.request.Trailer) == 0 {
			w.body.fetch()
		}
		// Whether a peer that was not told to send the body does so is its own choice.
		w.closes = w.closes || w.body.asks.Load() || w.body.spoiled.Load() || w.body.tooMuch()
	}
	if w.closes && !w.said {
		w.head.line("Connection", "close")
	}
	w.head.b = append(w.head.b, "\r\n"...)
}

// framed returns what is sent for what is held.
func (w *answerWriter) framed(last bool) []byte {
	if w.request.Method == http.MethodHead || w.held == nil && !(last && w.chunked) {
		return nil
	}
	p, start := w.piece(), chunkHead
	if !w.chunked {
		return p.b[start:]
	}
	if n := len(p.b) - chunkHead; n > 0 {
		var room [chunkHead]byte
		size := append(strconv.AppendInt(room[:0], int64(n), 16), "\r\n"...)
		start -= len(size)
		copy(p.b[start:], size)
		p.b = append(p.b, "\r\n"...)
	}
	if last {
		p.b = append(p.b, "0\r\n"...)
		_ = w.trailer().Write(p)
		p.b = append(p.b, "\r\n"...)
	}
	return p.b[start:]
}

// trailer returns the headers that were announced, and those that are marked.
func (w *answerWriter) trailer() http.Header {
	t := http.Header{}
	for name, values := range w.header {
		if name, marked := strings.CutPrefix(name, http.TrailerPrefix); marked {
			t[name] = values
		}
	}
	for _, name := range w.trailers {
		if values := w.header[name]; len(values) > 0 {
			t[name] = values
		}
	}
	return t
}

// write sends p. A peer that cannot be written to is gone.
func (w *answerWriter) write(p []byte) {
	if w.err != nil {
		return
	}
	if _, w.err = w.conn.conn.Write(p); w.err != nil {
		w.cancel()
	}
}

// finish sends what is left of an answer whose handler has returned, and tells whether the
// connection may be used again.
func (w *answerWriter) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	left := w.body != nil && !w.body.awaitEnd(w.restPatience())
	w.closes = w.closes || left && !w.sent
	err := w.send(true)
	w.over = true
	w.conn.end()
	if err != nil {
		return false
	}
	if left && !w.closes {
		w.conn.unbound() // of the wait for this request: what is left of its body may take longer
		<-w.body.emptied // who has sent all of it uses the connection again
		left = !w.body.ended.Load()
	}
	if left || w.closes {
		var reading <-chan struct{}
		if left {
			reading = w.body.emptied
		}
		w.conn.linger(reading)
		return false
	}
	// Whoever wrote less than was announced, or tried to write more, has left the peer waiting.
	amiss := w.length >= 0 && w.length != w.written && w.request.Method != http.MethodHead
	return !amiss
}

// restPatience is how long the rest of the request's body is waited for.
func (w *answerWriter) restPatience() time.Duration {
	if w.sent || w.closes {
		return 0
	}
	return restPatience
}

// SetReadDeadline is what http.ResponseController calls.
func (w *answerWriter) SetReadDeadline(t time.Time) error { return w.conn.limitReads(w, t) }

// SetWriteDeadline is what http.ResponseController calls.
func (w *answerWriter) SetWriteDeadline(t time.Time) error { return w.conn.limitWrites(w, t) }

// EnableFullDuplex is what http.ResponseController calls. It always is.
func (w *answerWriter) EnableFullDuplex() error { return nil }

// Hijack implements http.Hijacker.
func (w *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case w.hijacked:
		return nil, nil, http.ErrHijacked
	case w.over:
		return nil, nil, errOver
	}
	if w.status != 0 {
		if err := w.send(false); err != nil {
			return nil, nil, err
		}
	}
	w.keepContinue()
	w.conn.end()
	w.conn.peer.turn.take(over)
	if w.body != nil {
		w.body.release(func() { _ = w.conn.conn.SetReadDeadline(past) })
	}
	w.hijacked = true
	if err := w.conn.release(); err != nil {
		return nil, nil, err
	}
	return w.conn.conn, bufio.NewReadWriter(w.conn.r, bufio.NewWriter(w.conn.conn)), nil
}
