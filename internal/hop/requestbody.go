package hop

import (
	"io"
	"net/http"
	"sync/atomic"
)

// requestBody is the body of a request that is served. The answer does not wait for it to
// be read, nor its reader for the answer. Its inner reader, of http.ReadRequest, may be used by
// several goroutines.
type requestBody struct {
	inner  io.Reader
	w      *answerWriter
	asks   atomic.Bool // the peer sends it when it is told to
	ended  atomic.Bool // it was read to its end
	closed atomic.Bool
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.asks.Load() && b.asks.CompareAndSwap(true, false) {
		b.w.sendContinue()
	}
	n, err := b.inner.Read(p)
	if err == io.EOF && b.ended.CompareAndSwap(false, true) {
		b.w.conn.watch(b.w)
	}
	return n, err
}

// Close implements io.Closer. What is left is read behind the answer.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}

// drain reads what nobody has read, and tells whether that was all. The peer that sent
// more than maxReusedBody does not use the connection again.
func (b *requestBody) drain() bool {
	if b.ended.Load() {
		return true
	}
	if b.asks.Load() {
		return false // there may be a body or none
	}
	b.closed.Store(true)
	n, err := io.CopyN(io.Discard, b.inner, maxReusedBody+1)
	return err == io.EOF && n <= maxReusedBody
}
