package hop

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// trunkBuffer holds a whole frame, and many small ones.
	trunkBuffer = 32 << 10
	// trunkPause is between two attempts to make a trunk.
	trunkPause = time.Second
	// trunkPatience is how long the server may take none of the little that it is told, and how long a forwarder may take
	// what a server that stops has said.
	trunkPatience = 5 * time.Second
	// maxKeptPiece is how large a piece may have grown that is used again.
	maxKeptPiece = 16 << 10
)

// trunkIn is the forwarder's end of a trunk.
type trunkIn struct {
	conn *conn
	name string
	end  func() // closes the connection

	writing sync.Mutex // of conn.w

	mu    sync.Mutex
	lanes map[uint32]*laneIn
	last  uint32
	old   bool // ends with the last of its lanes
	lost  error
}

// laneIn is one watch at the forwarder's end.
type laneIn struct {
	trunk  *trunkIn
	number uint32
	ready  chan struct{} // holds one when there is something new
	taken  int           // bytes that the server does not know of; of who calls next

	mu    sync.Mutex
	held  *[]byte // of trunkPieces, what came and was not taken; nil if nothing is
	ended bool    // nothing more comes
	end   error   // why; nil if that was all
	cause error   // why nobody takes any more
}

// trunks makes the trunk of a Forwarder and replaces it when its time is over.
type trunks struct {
	pool *pool

	mu      sync.Mutex
	now     *trunkIn // nil if there is none
	making  bool
	retired bool      // there is none any more
	refused *life     // has a delegate that knows no trunks
	next    time.Time // before which none is made
}

// board returns a lane for a watch in the life l. While there is no trunk to be on it returns nil and has one made.
func (s *trunks) board(l *life) *laneIn {
	epoch := s.pool.turned()
	if l != s.pool.current() {
		return nil // a late one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired {
		return nil
	}
	if t := s.now; t != nil && (t.conn.life != l || t.conn.epoch != epoch) {
		s.now = nil
		t.retire()
	}
	if s.now != nil {
		return s.now.add()
	}
	if !s.making && s.refused != l && !time.Now().Before(s.next) {
		s.making = true
		go s.run(l)
	}
	return nil
}

// leave takes no more watches onto t.
func (s *trunks) leave(t *trunkIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == t {
		s.now, s.next = nil, time.Now().Add(trunkPause)
	}
	t.retire()
}

// retire ends the trunk with its last watch. There is no other.
func (s *trunks) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	if s.now != nil {
		s.now.retire()
		s.now = nil
	}
}

var errNoTrunks = errors.New("the delegate knows no trunks")

// run makes a trunk in the life l and reads from it to its end.
func (s *trunks) run(l *life) {
	t, err := s.open(l)
	s.mu.Lock()
	s.making = false
	switch {
	case err == nil && s.retired:
		t.retire()
	case err == nil:
		s.now = t
	case errors.Is(err, errNoTrunks):
		s.refused = l
	default:
		s.next = time.Now().Add(trunkPause)
	}
	s.mu.Unlock()
	if err == nil {
		err = t.read()
		t.lose(err)
		t.end()
		s.leave(t)
	}
	klog.V(4).InfoS("Watches have no trunk", "address", s.pool.address, "cause", err)
}

// open makes a trunk.
func (s *trunks) open(l *life) (*trunkIn, error) {
	c, err := s.pool.connect(context.Background(), l)
	if err != nil {
		return nil, err
	}
	t := &trunkIn{conn: c, name: rand.Text(), end: func() { s.pool.discard(c) }, lanes: map[uint32]*laneIn{}}
	if err := t.greet(); err != nil {
		t.end()
		return nil, err
	}
	return t, nil
}

func (t *trunkIn) greet() error {
	defer time.AfterFunc(dialTimeout, t.conn.abort).Stop()
	w := t.conn.w
	w.WriteString("GET / HTTP/1.1\r\n")
	writeField(w, "Host", "hop")
	writeField(w, "Connection", "Upgrade")
	writeField(w, "Upgrade", trunkProtocol)
	writeField(w, trunkHeader, t.name)
	w.WriteString("\r\n")
	if err := w.Flush(); err != nil {
		return err
	}
	a, err := readAnswer(t.conn, http.MethodGet)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusServiceUnavailable:
		return errors.New("the delegate is stopping")
	case a.status != http.StatusSwitchingProtocols || a.value("Upgrade") != trunkProtocol:
		return errNoTrunks
	}
	return nil
}

// read hands what comes to the lanes until the connection ends, which it returns. It never waits for one of them.
func (t *trunkIn) read() error {
	r := bufio.NewReaderSize(t.conn.r, trunkBuffer)
	for {
		header, err := r.Peek(trunkFrameHeader)
		if err != nil {
			return err
		}
		number, count := parseTrunkFrame(header)
		_, _ = r.Discard(trunkFrameHeader)
		if count == laneEnds || count == laneBreaks {
			if l := t.lane(number); l != nil {
				l.finish(endOf(count))
			}
			continue
		}
		if count > maxTrunkFrame {
			return fmt.Errorf("a frame of %d bytes", count)
		}
		p, err := r.Peek(int(count))
		if err != nil {
			return err
		}
		if l := t.lane(number); l != nil {
			if err := l.put(p); err != nil {
				return err
			}
		}
		_, _ = r.Discard(len(p))
	}
}

func (t *trunkIn) lane(number uint32) *laneIn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lanes[number]
}

// add returns a new lane, nil if the trunk is lost.
func (t *trunkIn) add() *laneIn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil {
		return nil
	}
	for t.last++; t.lanes[t.last] != nil; t.last++ { // it wraps
	}
	l := &laneIn{trunk: t, number: t.last, ready: make(chan struct{}, 1)}
	t.lanes[l.number] = l
	return l
}

// retire ends the trunk as soon as nobody is on it.
func (t *trunkIn) retire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.old = true
	t.endIfDone()
}

// endIfDone is for those who hold the mutex.
func (t *trunkIn) endIfDone() {
	if t.old && len(t.lanes) == 0 {
		t.end()
	}
}

// lose cuts all lanes off.
func (t *trunkIn) lose(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = err
	for _, l := range t.lanes {
		l.finish(err)
	}
}

// endOf tells why a lane ends at which count comes.
func endOf(count uint32) error {
	if count == laneEnds {
		return nil
	}
	return errTruncated
}

// name is what the request says of the lane.
func (l *laneIn) name() string { return laneName(l.trunk.name, l.number) }

// leave frees the lane. What still comes on it is dropped.
func (l *laneIn) leave() {
	t := l.trunk
	t.mu.Lock()
	delete(t.lanes, l.number)
	t.endIfDone()
	t.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
}

// confirm says that the head of the answer is here: from now on it is here that the watch is canceled.
func (l *laneIn) confirm() { l.trunk.tell(l.number, laneConfirmed) }

// abandon says that nobody takes any more of the answer, unless it is over.
func (l *laneIn) abandon() {
	l.mu.Lock()
	over := l.ended
	l.mu.Unlock()
	if !over {
		l.trunk.tell(l.number, laneCanceled)
	}
}

// put adds p to what is held.
func (l *laneIn) put(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = trunkPieces.Get().(*[]byte)
	}
	if len(*l.held)+len(p) > trunkWindow {
		return fmt.Errorf("lane %d was sent more than it has room for", l.number)
	}
	*l.held = append(*l.held, p...)
	signal(l.ready)
	return nil
}

// finish says that nothing more comes, and why; nil is that it was all. What came before is still taken.
func (l *laneIn) finish(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended, l.end = true, why
	}
	signal(l.ready)
}

// trunkPieces have the size of a few events; a watch that waits has none.
var trunkPieces = sync.Pool{New: func() any { p := make([]byte, 0, 4<<10); return &p }}

// cut has next return err, unless all is here. Any goroutine may call it.
func (l *laneIn) cut(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil && !(l.ended && l.end == nil) {
		l.cause = err
	}
	signal(l.ready)
}

// drop forgets what is held. The caller holds the mutex.
func (l *laneIn) drop() {
	if l.held != nil {
		putPiece(l.held)
		l.held = nil
	}
}

func putPiece(p *[]byte) {
	if cap(*p) > maxKeptPiece {
		return
	}
	*p = (*p)[:0]
	trunkPieces.Put(p)
}

// next waits for something, which is to be given back by done once it is written. It returns nil at the end.
func (l *laneIn) next() (*[]byte, error) {
	for {
		l.mu.Lock()
		p := l.held
		switch {
		case l.cause != nil:
			err := l.cause
			l.mu.Unlock()
			return nil, err
		case p != nil:
			l.held = nil
			l.mu.Unlock()
			return p, nil
		case l.ended:
			err := l.end
			l.mu.Unlock()
			return nil, err
		}
		l.mu.Unlock()
		<-l.ready
	}
}

// done says that the client has p.
func (l *laneIn) done(p *[]byte) {
	if l.taken += len(*p); l.taken >= trunkWindow/2 {
		l.trunk.tell(l.number, uint32(l.taken))
		l.taken = 0
	}
	putPiece(p)
}

// waiting tells whether next would wait.
func (l *laneIn) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held == nil
}

// tell says something of a lane. If that takes long the trunk is lost: the one who tells has a client that may be gone. A server
// that is no more has perhaps said all there was, and whoever reads it finds out.
func (t *trunkIn) tell(number, count uint32) {
	t.writing.Lock()
	defer t.writing.Unlock()
	_ = t.conn.wire.SetWriteDeadline(time.Now().Add(trunkPatience))
	var header [trunkFrameHeader]byte
	_, _ = t.conn.w.Write(appendTrunkFrame(header[:0], number, count))
	if err := t.conn.w.Flush(); errors.Is(err, os.ErrDeadlineExceeded) {
		t.conn.abort()
	}
}
