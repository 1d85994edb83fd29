package hop

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// offer asks for a watch as a forwarder does, with a lane of trunk, and returns the connection that it asked on.
func (c *trunkChain) offer(t testing.TB, l *laneIn) *tls.Conn {
	t.Helper()
	config := c.delegate.ca.clientTLS()
	config.NextProtos = []string{"http/1.1"}
	conn := must(tls.Dial("tcp", c.delegate.address, config))
	t.Cleanup(func() { conn.Close() })
	must(io.WriteString(conn, "GET /?watch=1 HTTP/1.1\r\nHost: x\r\n"+trunkHeader+": "+l.name()+"\r\n\r\n"))
	return conn
}

// ownTrunk makes a trunk that is the test's, and reads it.
func (c *trunkChain) ownTrunk(t testing.TB) *trunkIn {
	t.Helper()
	trunk := must(c.forwarder.trunks.open(c.forwarder.pool.current()))
	read := make(chan struct{})
	go func() {
		defer close(read)
		trunk.lose(trunk.read())
	}()
	t.Cleanup(func() { trunk.end(); <-read })
	return trunk
}

// A server that has said all there was may be gone when it is told something.
func TestWhatWasSaidArrivesAlthoughNobodyListens(t *testing.T) {
	far, near := socketPair(t)
	c := connOver(near)
	trunk := &trunkIn{conn: c, lanes: map[uint32]*laneIn{}, end: c.abort}
	l, other := trunk.add(), trunk.add()
	frames := append(appendTrunkFrame(nil, l.number, 5), "event"...)
	must(far.Write(appendTrunkFrame(frames, l.number, laneEnds)))
	far.Close()
	other.abandon()
	trunk.lose(trunk.read())
	if p, err := l.next(); p == nil || string(*p) != "event" {
		t.Fatalf("the event is lost: %v", err)
	}
	if p, err := l.next(); p != nil || err != nil {
		t.Errorf("what is whole ends with %v", err)
	}
}

// A client's request for a protocol of ours is a request like others.
func TestAClientMakesNoTrunk(t *testing.T) {
	var asked atomic.Int32
	c := startTrunkChain(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	})
	c.trunk(t)
	for _, query := range []string{"/?watch=1", "/"} {
		conn := c.dial(t)
		must(io.WriteString(conn, "GET "+query+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "+trunkProtocol+"\r\n"+trunkHeader+": mine\r\n\r\n"))
		resp := must(http.ReadResponse(bufio.NewReader(conn), nil))
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", query, resp.Status)
		}
	}
	if asked.Load() != 2 || len(c.delegate.trunks.trunks) != 1 {
		t.Errorf("asked %d times; %d trunks", asked.Load(), len(c.delegate.trunks.trunks))
	}
	l := c.trunk(t).add()
	defer l.leave()
	r := must(http.NewRequest(http.MethodGet, "/", nil))
	r.Header.Set("Upgrade", trunkProtocol)
	r.Header.Set(trunkHeader, l.name())
	if isTrunk(r) {
		t.Error("a lane is taken for a trunk")
	}
}

// Connections that are handed over are nobody's to wait for, those of watches neither.
func TestAWatchOfAWebSocketHoldsUpNoStop(t *testing.T) {
	c := startTrunkChain(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		must(io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
		_, _ = conn.Read(make([]byte, 1))
	})
	c.trunk(t)
	conn := c.dial(t)
	must(io.WriteString(conn, "GET /?watch=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
	if resp := must(http.ReadResponse(bufio.NewReader(conn), nil)); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), trunkPatience)
	defer cancel()
	if err := c.delegate.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// A watch may be ended after any frame, and then not in the middle of an event.
func TestAnEventIsNotTakenApart(t *testing.T) {
	trunk := &trunkOut{wake: make(chan struct{}, 1)}
	l := &laneOut{trunk: trunk, room: maxTrunkFrame + 1}
	event := make([]byte, maxTrunkFrame)
	for want := maxTrunkFrame; want >= 0; want -= maxTrunkFrame {
		if n, _, err := l.put(event); n != want || err != nil {
			t.Errorf("%d of %d bytes are sent, want %d; %v", n, len(event), want, err)
		}
	}
}

// A client may leave at any moment, as before the watch has begun.
func TestAWatchThatIsCanceledBeforeItBeginsEnds(t *testing.T) {
	begin, ends := make(chan struct{}), make(chan struct{})
	c := startTrunkChain(t, func(w http.ResponseWriter, r *http.Request) {
		<-begin
		w.WriteHeader(http.StatusOK)
		<-r.Context().Done()
		close(ends)
	})
	trunk := c.ownTrunk(t)
	l := trunk.add()
	conn := c.offer(t, l)
	trunk.tell(l.number, laneCanceled)
	out := c.delegate.trunks.get(trunk.name)
	eventually(t, "the server has heard", func() bool {
		out.mu.Lock()
		defer out.mu.Unlock()
		return len(out.refused) == 1
	})
	conn.Close()
	close(begin)
	select {
	case <-ends:
	case <-time.After(confirmPatience / 2):
		t.Error("it goes on")
	}
}

// A forwarder that did not say in time that it has the head of an answer may have it all the same.
func TestAWatchThatWasGivenUpIsNotWhole(t *testing.T) {
	c := startTrunkChain(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	trunk := c.ownTrunk(t)
	l := trunk.add()
	c.offer(t, l)
	if p, err := l.next(); p == nil || string(*p) != "begun" {
		t.Fatal(err)
	}
	out := c.delegate.trunks.get(trunk.name)
	out.mu.Lock()
	out.lanes[l.number].confirm.Reset(0)
	out.mu.Unlock()
	if p, err := l.next(); p != nil || !errors.Is(err, errTruncated) {
		t.Errorf("it ends with %v", err)
	}
}

func TestAWatchWithTrailersHasThem(t *testing.T) {
	eachWatch(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-End")
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "event")
		w.Header().Set("X-End", "yes")
	}, func(t *testing.T, c *trunkChain, client *http.Client) {
		resp := c.watch(t, client, "")
		if got := readAll(t, resp.Body); got != "event" || resp.Trailer.Get("X-End") != "yes" {
			t.Errorf("%q, %v", got, resp.Trailer)
		}
	})
}

// Numbers are used again when there are no others, but not of watches that last.
func TestNoLaneTakesThePlaceOfAnother(t *testing.T) {
	trunk := &trunkIn{lanes: map[uint32]*laneIn{}}
	first := trunk.add()
	trunk.last-- // as after all the others
	if second := trunk.add(); second.number == first.number || trunk.lanes[first.number] != first {
		t.Error("two watches have one lane")
	}
}

// deadlined is a connection that counts the deadlines that it is given after it was let go.
type deadlined struct {
	serverWriter
	header http.Header
	free   atomic.Bool
	late   atomic.Int32
}

func (d *deadlined) Header() http.Header { return d.header }
func (d *deadlined) WriteHeader(int)     {}
func (d *deadlined) SetWriteDeadline(time.Time) error {
	if d.free.Load() {
		d.late.Add(1)
	}
	return nil
}

// The connection that a watch was asked on serves others, who must not be cut off by its end.
func TestNoDeadlineReachesAConnectionThatWasLetGo(t *testing.T) {
	trunk := &trunkOut{fresh: t.Context(), lanes: map[uint32]*laneOut{}}
	late := int32(0)
	for n := range uint32(2000) {
		conn := &deadlined{header: http.Header{}}
		a := &laned{
			serverWriter: conn, offer: &laneOut{trunk: trunk, number: n, cancel: func(error) {}},
			leave: func() { conn.free.Store(true) },
		}
		begun, cut := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(cut)
			rc := http.NewResponseController(a)
			close(begun)
			for rc.SetWriteDeadline(past) == nil {
			}
		}()
		<-begun
		a.WriteHeader(http.StatusOK)
		<-cut
		a.lane.confirm.Stop()
		a.lane.refresh()
		late += conn.late.Load()
	}
	if late > 0 {
		t.Errorf("%d deadlines came late", late)
	}
}
