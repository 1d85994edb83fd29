package hop

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// restPatience is how long an answer that is whole waits for what nobody reads of the request: the
// client need not be told that its connection ends, nor a hop's be made anew. A body that comes
// more slowly does not hold its answer up.
const restPatience = 50 * time.Millisecond

// maxFetched is how much of a body is kept for who may still read it.
const maxFetched = 64 << 10

// requestBody is the body of a request that is served. It may be used by several goroutines.
type requestBody struct {
	w        *answerWriter
	inner    io.Reader
	length   int64 // unknownLength for chunks
	expects  bool  // the peer wants to be told to send it
	asks     atomic.Bool
	begun    atomic.Bool // somebody reads it
	closed   atomic.Bool
	ended    atomic.Bool // it was read to its end
	spoiled  atomic.Bool // it has no end: what follows is no request
	reading  sync.Mutex
	count    atomic.Int64
	fetched  fetched
	emptying sync.Once
	emptied  chan struct{} // made by empty, closed when it has read
}

func newRequestBody(w *answerWriter, r *http.Request) *requestBody {
	b := &requestBody{w: w, inner: r.Body, length: r.ContentLength, expects: expectsContinue(r)}
	b.asks.Store(b.expects)
	return b
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(p) == 0 {
		return 0, nil
	}
	if n, err := b.fetched.take(p); n > 0 || err != nil {
		return n, err
	}
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.asks.Load() && b.asks.CompareAndSwap(true, false) {
		b.w.sendContinue()
	}
	return b.read(p)
}

// read is for who holds reading.
func (b *requestBody) read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	b.count.Add(int64(n))
	switch {
	case err == io.EOF:
		if b.ended.CompareAndSwap(false, true) {
			b.w.conn.watch(b.w)
		}
	case err != nil:
		b.spoiled.Store(true)
	}
	return n, err
}

// fetch has the body be read, if it is not long, by whom nobody waits for: a peer that goes away
// is missed only behind it. Most who begin to answer before they read will not.
func (b *requestBody) fetch() {
	if b.begun.Load() || b.closed.Load() || b.asks.Load() || b.length > maxFetched || !b.fetched.begin() {
		return
	}
	go func() {
		b.reading.Lock()
		defer b.reading.Unlock()
		size := int64(4 << 10)
		if b.length >= 0 {
			size = min(size, b.length+1) // its end, too
		}
		buf := make([]byte, size)
		for more := true; more && !b.begun.Load() && !b.closed.Load(); {
			n, err := b.read(buf)
			if isTimeout(err) { // of the handler, or who takes over: it is for them to meet
				break
			}
			more = b.fetched.add(buf[:n], err)
		}
		b.fetched.end()
	}()
}

// fetched is what was read of a body before anybody asked for it.
type fetched struct {
	mu     sync.Mutex
	change sync.Cond // more, or going false; its L is mu from begin on
	going  bool
	data   []byte // and not taken
	total  int
	err    error
}

// begin tells whether nobody fetched before.
func (f *fetched) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.change.L != nil {
		return false
	}
	f.change.L, f.going = &f.mu, true
	return true
}

// add tells whether there is more to fetch.
func (f *fetched) add(p []byte, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data, f.err = append(f.data, p...), err
	f.total += len(p)
	f.change.Broadcast()
	return err == nil && f.total <= maxFetched
}

func (f *fetched) isGoing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.going
}

func (f *fetched) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.going = false
	f.change.Broadcast()
}

// take returns what was fetched, and then the error. It waits only for who does so, and returns nothing when the body
// is for the caller to read.
func (f *fetched) take(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.going && len(f.data) == 0 && f.err == nil {
		f.change.Wait()
	}
	n = copy(p, f.data)
	if f.data = f.data[n:]; n == 0 && len(f.data) == 0 {
		err = f.err
	}
	return n, err
}

// Close implements io.Closer. What is left is read by nobody, and does not keep the peer's end from
// being noticed. But trailers are stored where the handler may look at that moment.
func (b *requestBody) Close() error {
	if b.closed.Store(true); len(b.w.request.Trailer) == 0 {
		b.empty()
	}
	return nil
}

// release returns when nobody of ours reads any more, nor will: the connection is about to be taken over. Who does read
// is cut by interrupt.
func (b *requestBody) release(interrupt func()) {
	fetching := b.fetched.isGoing()
	if b.closed.Swap(true) || fetching {
		interrupt()
	}
	b.emptying.Do(func() { b.emptied = make(chan struct{}); close(b.emptied) })
	if <-b.emptied; fetching {
		b.reading.Lock()
		defer b.reading.Unlock()
	}
}

// tooMuch tells whether more is left than is read for nobody. The peer that sent more than maxReusedBody does
// not use the connection again.
func (b *requestBody) tooMuch() bool {
	return b.length >= 0 && b.length-b.count.Load() > maxReusedBody
}

// empty has what is left be read, if the peer sends it. It does not wait, and nobody else reads from then on.
func (b *requestBody) empty() {
	b.closed.Store(true)
	b.emptying.Do(func() {
		b.emptied = make(chan struct{})
		if b.ended.Load() || b.unasked() {
			close(b.emptied)
			return
		}
		go func() {
			defer close(b.emptied)
			b.reading.Lock()
			defer b.reading.Unlock() // behind a reader that was left
			if !b.tooMuch() {
				_, _ = io.CopyN(io.Discard, rest{b}, maxReusedBody+1)
			}
		}()
	})
}

// unasked tells whether the peer has not been told to send the body, and will not be: who reads is about
// to see that it is closed.
func (b *requestBody) unasked() bool {
	if !b.reading.TryLock() {
		return false // somebody has had it told
	}
	defer b.reading.Unlock()
	return b.asks.Load()
}

// awaitEnd tells whether the body came to its end, within d.
func (b *requestBody) awaitEnd(d time.Duration) bool {
	if b.ended.Load() {
		return true
	}
	if b.empty(); !b.isEmptied() && !b.tooMuch() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-b.emptied:
		case <-timer.C:
		}
	}
	return b.ended.Load()
}

func (b *requestBody) isEmptied() bool {
	select {
	case <-b.emptied:
		return true
	default:
		return false
	}
}

// rest is what nobody reads.
type rest struct{ *requestBody }

// Read implements io.Reader for who holds reading.
func (r rest) Read(p []byte) (int, error) { return r.read(p) }
