package hop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"triptych.dev/triptych/internal/identity"
)

const (
	// maxTrunkQueue is how much may wait for a forwarder that does not read. Whoever has more to say waits, too.
	maxTrunkQueue = 16 << 20
	// maxRefused is how many lanes that were canceled a trunk knows. A few are about to be opened.
	maxRefused = 1024
)

// trunkOut is the server's end of a trunk.
type trunkOut struct {
	conn  net.Conn
	peer  identity.Peer
	fresh context.Context // ends when the connection is to be left
	wake  chan struct{}   // holds one while there is something to write
	over  chan struct{}   // closed when the trunk is lost

	mu      sync.Mutex
	queue   []*piece      // frames that are to be written, in pieces that hold whole ones
	queued  uint64        // bytes since the trunk is there
	written uint64        // those of them that left
	left    chan struct{} // closed when more has left
	lanes   map[uint32]*laneOut
	refused map[uint32]struct{} // lanes that were canceled and are not there, or no more; at most maxRefused
	lost    error
}

// laneOut is one watch at the server's end.
type laneOut struct {
	trunk  *trunkOut
	name   string // as it was offered
	number uint32
	cancel context.CancelCauseFunc // of who answers
	more   chan struct{}           // holds one when room has grown
	gone   chan struct{}           // closed when nobody is there any more to take anything
	ended  chan struct{}           // closed when nothing more comes

	// Guarded by trunk.mu.
	room    int // bytes that may be sent
	failed  bool
	left    bool        // gone is closed
	confirm *time.Timer // nil when the forwarder has the head of the answer
	refresh func() bool // undoes that the lane ends with trunk.fresh
}

// trunkSet holds the trunks of a server by their names. The zero value is ready.
type trunkSet struct {
	mu     sync.Mutex
	trunks map[string]*trunkOut
}

func (s *trunkSet) add(name string, t *trunkOut) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trunks[name] != nil {
		return false
	}
	if s.trunks == nil {
		s.trunks = map[string]*trunkOut{}
	}
	s.trunks[name] = t
	return true
}

func (s *trunkSet) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.trunks, name)
}

func (s *trunkSet) get(name string) *trunkOut {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trunks[name]
}

func (s *trunkSet) all() []*trunkOut {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.trunks))
}

// isTrunk tells whether a peer wants its connection to be a trunk.
func isTrunk(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.Header.Get("Upgrade") != trunkProtocol {
		return false
	}
	name := r.Header.Get(trunkHeader)
	_, _, lane := parseLaneName(name)
	return name != "" && !lane
}

// serveTrunk makes a trunk of the connection of r, and returns when it is lost.
func (s *Server) serveTrunk(w http.ResponseWriter, r *http.Request, conn *peerConn) {
	peer, name := conn.peer.Load(), r.Header.Get(trunkHeader)
	if s.config.Watches == nil || peer == nil {
		http.NotFound(w, r)
		return
	}
	t := &trunkOut{
		peer: *peer, fresh: conn.fresh, wake: make(chan struct{}, 1), over: make(chan struct{}), left: make(chan struct{}), lanes: map[uint32]*laneOut{},
	}
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer raw.Close()
	t.conn = raw
	// Known before it is answered: the next request may name it.
	if !s.trunks.add(name, t) {
		return
	}
	defer s.trunks.remove(name)
	if _, err := io.WriteString(raw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+trunkProtocol+"\r\n\r\n"); err != nil {
		return
	}
	go t.write()
	t.lose(t.read(buffered))
}

// laneFor returns the lane that r, which came on conn, offers to its answer; nil if there is none.
func (s *Server) laneFor(r *http.Request, conn *peerConn) *laneOut {
	name := r.Header.Get(trunkHeader)
	trunk, number, ok := parseLaneName(name)
	if !ok {
		return nil
	}
	t, peer := s.trunks.get(trunk), conn.peer.Load()
	if t == nil || peer == nil || *peer != t.peer || t.fresh.Err() != nil {
		return nil
	}
	return &laneOut{
		trunk: t, name: name, number: number, room: trunkWindow,
		more: make(chan struct{}, 1), gone: make(chan struct{}), ended: make(chan struct{}),
	}
}

// endTrunks tells forwarders that nothing more comes, and waits until they have all there was and leave. To close
// first would be to lose what is on its way: a kernel that has something nobody read drops what it has yet to send.
// No watch may be under way. A forwarder that takes nothing is left after trunkPatience.
func (s *Server) endTrunks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, trunkPatience)
	defer cancel()
	trunks := s.trunks.all()
	for _, t := range trunks {
		if half, ok := t.conn.(interface{ CloseWrite() error }); ok {
			go half.CloseWrite() // which may have to wait for a write
		}
	}
	for _, t := range trunks {
		select {
		case <-t.over:
		case <-ctx.Done():
			return
		}
	}
}

// read takes what the forwarder says until the connection ends, which it returns.
func (t *trunkOut) read(r io.Reader) error {
	var header [trunkFrameHeader]byte
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		if err := t.hear(parseTrunkFrame(header[:])); err != nil {
			return err
		}
	}
}

// hear is what the forwarder says of a lane.
func (t *trunkOut) hear(number, count uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lanes[number]
	switch {
	case l == nil: // it has ended meanwhile, or is yet to begin
		if count == laneCanceled {
			t.refuse(number)
		}
		return nil
	case count == laneConfirmed:
		l.confirm.Stop()
		return nil
	case count == laneCanceled:
		l.abandon(context.Canceled)
		return nil
	}
	if count > trunkWindow || l.room+int(count) > trunkWindow {
		return fmt.Errorf("lane %d has taken more than it was sent", number)
	}
	l.room += int(count)
	signal(l.more)
	return nil
}

// refuse has no lane of that number open. The caller holds the mutex.
func (t *trunkOut) refuse(number uint32) {
	if t.refused == nil || len(t.refused) >= maxRefused {
		t.refused = map[uint32]struct{}{}
	}
	t.refused[number] = struct{}{}
}

// write sends what is queued until the trunk is lost.
func (t *trunkOut) write() {
	var batch []*piece
	for {
		select {
		case <-t.wake:
		case <-t.over:
			return
		}
		// An event is heard by many watches at once: what the others have to say leaves along with it.
		runtime.Gosched()
		t.mu.Lock()
		batch, t.queue = t.queue, batch[:0]
		t.mu.Unlock()
		if err := t.send(batch); err != nil {
			t.lose(err)
			return
		}
	}
}

// send writes pieces and gives them back.
func (t *trunkOut) send(batch []*piece) error {
	var n uint64
	for i, p := range batch {
		if _, err := t.conn.Write(p.b); err != nil {
			return err
		}
		n += uint64(len(p.b))
		p.putIn(&pieces)
		batch[i] = nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written += n
	close(t.left)
	t.left = make(chan struct{})
	return nil
}

func (t *trunkOut) lose(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil {
		return
	}
	if t.lost = err; err == nil {
		t.lost = net.ErrClosed
	}
	t.conn.Close()
	close(t.over)
	for _, l := range t.lanes {
		l.abandon(context.Canceled)
	}
}

// abandon has whoever answers stop. The caller holds the mutex.
func (l *laneOut) abandon(cause error) {
	if !l.left {
		l.left = true
		close(l.gone)
		l.cancel(cause)
	}
}

// open is to come before anything is written. It fails when the trunk is lost, or has such a lane, or nobody waits for
// it any more.
func (l *laneOut) open() bool {
	t := l.trunk
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil || t.lanes[l.number] != nil {
		return false
	}
	if _, refused := t.refused[l.number]; refused {
		return false
	}
	t.lanes[l.number] = l
	l.confirm = time.AfterFunc(confirmPatience, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		l.abandon(context.Canceled)
	})
	l.refresh = context.AfterFunc(t.fresh, func() { l.cancel(ErrEnd) })
	return true
}

var errWatchGone = errors.New("nobody takes what the watch says")

// write sends p, which it does not keep. It waits while the client has not taken enough of what was sent before.
func (l *laneOut) write(p []byte) (written int, err error) {
	for written < len(p) {
		n, drained, err := l.put(p[written:])
		if err != nil {
			return written, err
		}
		if written += n; n > 0 {
			continue
		}
		select {
		case <-l.more:
		case <-drained:
		case <-l.gone:
		case <-l.trunk.over:
		}
	}
	return written, nil
}

// put queues a frame of p, as soon as there is room for it. If that is nothing because of what others have to say,
// drained is closed when some of it has left.
func (l *laneOut) put(p []byte) (n int, drained <-chan struct{}, err error) {
	t := l.trunk
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost != nil || l.left {
		l.failed = true
		return 0, nil, cmp.Or(t.lost, errWatchGone)
	}
	if t.queued-t.written >= maxTrunkQueue {
		return 0, t.left, nil
	}
	n = min(len(p), maxTrunkFrame)
	if n > l.room {
		return 0, nil, nil
	}
	l.room -= n
	t.append(l.number, uint32(n), p[:n])
	return n, nil, nil
}

// append queues a frame. The caller holds the mutex. What many watches say at once is more than a piece, and to
// grow one would be to copy it.
func (t *trunkOut) append(number, count uint32, p []byte) {
	size := trunkFrameHeader + len(p)
	if n := len(t.queue); n == 0 || len(t.queue[n-1].b)+size > pieceSize {
		t.queue = append(t.queue, pieces.Get().(*piece))
	}
	last := t.queue[len(t.queue)-1]
	last.b = append(appendTrunkFrame(last.b, number, count), p...)
	t.queued += uint64(size)
	signal(t.wake)
}

// end says that nothing more comes on the lane, and whether that is all. It returns when everything that was written has left, or
// nobody is there any more to take it.
func (l *laneOut) end(whole bool) {
	t := l.trunk
	l.confirm.Stop()
	l.refresh()
	close(l.ended)
	t.mu.Lock()
	delete(t.lanes, l.number)
	if whole && !l.failed && !l.left {
		t.append(l.number, laneEnds, nil)
	} else {
		t.append(l.number, laneBreaks, nil)
	}
	all := t.queued
	for t.written < all && t.lost == nil {
		left := t.left
		t.mu.Unlock()
		select {
		case <-left:
		case <-l.gone:
			return
		case <-t.over:
		}
		t.mu.Lock()
	}
	t.mu.Unlock()
}

// signal has whoever waits for c, or will, look again.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
