package hop

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookoutTick is after how long, twice that at most, somebody looks whether the peer of a
	// request is still there. Most are answered by then.
	lookoutTick = 50 * time.Millisecond
	// restlessTicks are for how many ticks there must be no request before they end.
	restlessTicks = 20
	// deadlineSlack is how much earlier than it should a deadline may come.
	deadlineSlack = 30 * time.Second
)

// lookouts are those of all connections of a Server. They have one ticker, which runs while
// there are requests: to start a timer for each would wake a thread for each.
type lookouts struct {
	tick    atomic.Int64
	begun   atomic.Int64 // requests
	running atomic.Bool
	closed  atomic.Bool

	mu  sync.Mutex
	all map[*lookout]struct{}
}

func (s *lookouts) add(l *lookout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*lookout]struct{}{}
	}
	s.all[l] = struct{}{}
}

func (s *lookouts) remove(l *lookout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, l)
}

// close has everybody who is served taken for gone, now and from here on. It comes behind the
// end of the connections, or else they would be looked at in vain.
func (s *lookouts) close() {
	s.closed.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.all {
		l.mu.Lock()
		if l.whose != nil {
			l.whose.gone()
		}
		l.mu.Unlock()
	}
}

// run ticks until there is nothing to look for.
func (s *lookouts) run() {
	ticker := time.NewTicker(lookoutTick)
	defer ticker.Stop()
	seen, rest := int64(-1), 0
	for range ticker.C {
		if s.closed.Load() {
			return
		}
		if begun := s.begun.Load(); s.sweep(s.tick.Add(1)) || begun != seen {
			seen, rest = begun, 0
			continue
		}
		if rest++; rest < restlessTicks {
			continue
		}
		s.running.Store(false)
		if s.begun.Load() == seen || !s.running.CompareAndSwap(false, true) {
			return
		}
	}
}

// sweep has those look that have waited for a whole tick, and tells whether there are more.
func (s *lookouts) sweep(tick int64) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.all {
		l.mu.Lock()
		if waits := l.wanted && !l.looking && !l.have; waits && tick > l.since+1 {
			l.looking = true
			go l.look()
		} else {
			more = more || waits
		}
		l.mu.Unlock()
	}
	return more
}

// lookout finds out whether the peer goes away while it is served: it reads ahead, by one
// byte. There are methods for the goroutine that serves, and those that any may call.
type lookout struct {
	conn  net.Conn
	among *lookouts

	mu      sync.Mutex
	done    sync.Cond     // looking is over
	whose   *answerWriter // what is served, nil for nothing
	wanted  bool          // whose is to be watched
	since   int64         // the tick at which that was said
	looking bool
	ending  bool
	ahead   byte
	have    bool      // ahead was read and not taken
	until   time.Time // what reading is bounded by, zero for nothing
	idle    bool      // until was set by patience
	limited bool      // a deadline for writing was set
}

func (l *lookout) of(conn net.Conn, set *lookouts) {
	l.conn, l.among = conn, set
	l.done.L = &l.mu
}

// begin says that w is served from now on.
func (l *lookout) begin(w *answerWriter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whose = w; l.among.closed.Load() {
		w.gone()
	}
}

// watch looks out for the peer of w, in a while, if that is what is served: all of the request
// has been read. Any goroutine may call it.
func (l *lookout) watch(w *answerWriter) {
	l.mu.Lock()
	if l.whose != w {
		l.mu.Unlock()
		return
	}
	l.wanted, l.since = true, l.among.tick.Load()
	if !l.idle && !l.until.IsZero() {
		_ = l.set(time.Time{}) // it was for the body
	}
	l.mu.Unlock()
	l.among.begun.Add(1)
	if !l.among.running.Load() && l.among.running.CompareAndSwap(false, true) {
		go l.among.run()
	}
}

// look reads ahead. Whoever calls it has set looking.
func (l *lookout) look() {
	l.mu.Lock()
	ending := l.ending
	if !ending {
		l.unboundIdle()
	}
	l.mu.Unlock()
	var n int
	var err error
	var one [1]byte
	if !ending {
		n, err = l.conn.Read(one[:])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n > 0 {
		l.ahead, l.have = one[0], true
	}
	if err != nil && !l.ending && l.whose != nil {
		l.wanted = false
		l.whose.gone()
	}
	l.looking = false
	l.done.Broadcast()
}

// end stops looking: who serves is about to read. It returns when nobody else does.
func (l *lookout) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whose, l.wanted = nil, false
	if l.limited {
		l.limited = false
		_ = l.conn.SetWriteDeadline(time.Time{})
	}
	if !l.looking {
		return
	}
	l.ending = true
	_ = l.conn.SetReadDeadline(past)
	for l.looking {
		l.done.Wait()
	}
	l.ending = false
	_ = l.conn.SetReadDeadline(l.until)
}

// take returns what was read ahead.
func (l *lookout) take() (byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whose != nil {
		l.unboundIdle() // of a body
	}
	had := l.have
	l.have = false
	return l.ahead, had
}

// peek tells whether something was read ahead.
func (l *lookout) peek() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.have
}

// patience bounds the wait for a request. A deadline costs as much as a small answer's
// bytes, so one that was set a moment ago does.
func (l *lookout) patience(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.idle && l.until.Sub(now) > d-deadlineSlack {
		return
	}
	l.set(now.Add(d))
	l.idle = true
}

// bound bounds what is read until patience.
func (l *lookout) bound(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(time.Now().Add(d))
	l.idle = true // as little as a request's head does a body's bytes bind
}

// limitReads is what the handler of w asks for, as is limitWrites. Once another is served, or nobody, they do
// nothing: a handler that was left must not end what is served behind it.
func (l *lookout) limitReads(w *answerWriter, t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whose != w {
		return errOver
	}
	return l.set(t)
}

func (l *lookout) limitWrites(w *answerWriter, t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whose != w {
		return errOver
	}
	l.limited = true
	return l.conn.SetWriteDeadline(t)
}

// set is for those who hold the mutex, as is unboundIdle.
func (l *lookout) set(t time.Time) error {
	l.until, l.idle = t, false
	return l.conn.SetReadDeadline(t)
}

// unbound ends what patience and bound have set.
func (l *lookout) unbound() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unboundIdle()
}

func (l *lookout) unboundIdle() {
	if l.idle {
		_ = l.set(time.Time{})
	}
}
