package hop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"triptych.dev/triptych/internal/identity"
)

// A server that stops ends watches; what they said last still arrives, and their ends are clean.
func TestAStoppingServerEmptiesItsTrunks(t *testing.T) {
	stopping := make(chan struct{})
	watch := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "begun\n")
		w.(http.Flusher).Flush()
		<-stopping
		numbered(w, 0, 2000)
	}
	eachWatch(t, watch, func(t *testing.T, c *trunkChain, client *http.Client) {
		stopping = make(chan struct{})
		var readers []*bufio.Reader
		for range 10 {
			readers = append(readers, wantBegun(t, c.watch(t, client, "")))
		}
		if c.lanes() != 10 {
			t.Fatalf("%d lanes", c.lanes())
		}
		var stopped sync.WaitGroup
		stopped.Go(func() {
			if err := c.delegate.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			c.delegate.Close()
		})
		close(stopping)
		for _, r := range readers {
			stopped.Go(func() {
				if err := checkNumbered(r, 0, 2000); err != nil {
					t.Error(err)
				}
				if _, err := r.ReadByte(); err != io.EOF {
					t.Errorf("ends with %v", err)
				}
			})
		}
		stopped.Wait()
	})
}

// A server that has stopped has no more to say on its trunks, and may be closed at once, whatever the forwarder still
// tells it.
func TestAStoppedServerIsReadToTheEnd(t *testing.T) {
	stopping := make(chan struct{})
	c := startTrunkChain(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		<-stopping
		w.Write(make([]byte, trunkWindow))
	})
	trunk := must(c.forwarder.trunks.open(c.forwarder.pool.current()))
	defer trunk.end()
	var lanes []*laneIn
	for range 20 {
		l := trunk.add()
		lanes = append(lanes, l)
		c.offer(t, l)
	}
	eventually(t, "all are on the trunk", func() bool { return c.lanes() == len(lanes) })
	over := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				trunk.tell(trunk.last+1, 1) // of a watch that is no more
			}
		}
	})
	defer close(over)
	stopped := make(chan error, 1)
	go func() {
		err := c.delegate.Shutdown(t.Context())
		c.delegate.Close()
		stopped <- err
	}()
	close(stopping)
	eventually(t, "everything is said", func() bool { return c.lanes() == 0 })
	trunk.lose(trunk.read())
	for i, l := range lanes {
		n := 0
		for {
			p, err := l.next()
			if err != nil {
				t.Errorf("watch %d ends with %v", i, err)
			}
			if p == nil { // also with an error
				break
			}
			n += len(*p)
		}
		if n != trunkWindow {
			t.Errorf("%d bytes of watch %d arrive", n, i)
		}
	}
	trunk.end()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// When certificates are replaced the next watches are on a new trunk, and the old one ends with its last watch.
func TestARefreshedForwarderLeavesItsTrunk(t *testing.T) {
	ends := make(chan error, 10)
	c := startTrunkChain(t, forever(ends))
	old := c.trunk(t)
	client := c.http1()
	resp := c.watch(t, client, "")
	wantBegun(t, resp)
	c.forwarder.Refresh()
	if c.trunk(t) == old {
		t.Fatal("the trunk is the same")
	}
	wantBegun(t, c.watch(t, client, ""))
	if c.lanes() != 2 {
		t.Errorf("%d lanes", c.lanes())
	}
	resp.Body.Close()
	<-ends
	eventually(t, "the old trunk ends", func() bool {
		old.mu.Lock()
		defer old.mu.Unlock()
		return old.lost != nil
	})
	client.CloseIdleConnections()
}

// A replica that is not asked any more, although its process goes on, has no connection left.
func TestARetiredForwarderLeavesItsTrunk(t *testing.T) {
	ends := make(chan error, 1)
	c := startTrunkChain(t, forever(ends))
	c.trunk(t)
	client := c.http1()
	defer client.CloseIdleConnections()
	resp := c.watch(t, client, "")
	wantBegun(t, resp)
	c.forwarder.retire()
	if c.lanes() != 1 {
		t.Error("the watch is off its trunk")
	}
	resp.Body.Close()
	<-ends
	eventually(t, "no connection is left", func() bool { return len(c.delegate.peers.all()) == 0 })
}

// Watches end before the connection of their trunk has to, as before that of their own.
func TestWatchesEndBeforeTheirTrunkHasTo(t *testing.T) {
	ends := make(chan error, 10)
	eachWatch(t, forever(ends), func(t *testing.T, c *trunkChain, client *http.Client) {
		old := c.trunk(t)
		r := wantBegun(t, c.watch(t, client, ""))
		for _, trunk := range c.delegate.trunks.trunks {
			for _, conn := range c.delegate.peers.all() {
				if conn.fresh == trunk.fresh {
					conn.leave(time.Minute)
				}
			}
		}
		if err := <-ends; !errors.Is(err, ErrEnd) {
			t.Errorf("the watch ends by %v", err)
		}
		if rest, err := io.ReadAll(r); string(rest) != "last\n" || err != nil {
			t.Errorf("%q %v", rest, err)
		}
		// The next one has its body on its own connection, and the one after that a new trunk.
		wantBegun(t, c.watch(t, client, ""))
		if c.lanes() != 0 {
			t.Error("a watch is on a trunk that is to be left")
		}
		eventually(t, "the old trunk ends", func() bool {
			old.mu.Lock()
			defer old.mu.Unlock()
			return old.lost != nil
		})
		eventually(t, "there is a new trunk", func() bool {
			resp := c.watch(t, client, "")
			wantBegun(t, resp)
			defer func() { resp.Body.Close(); <-ends }()
			return c.lanes() == 1
		})
		c.CloseClientConnections()
		<-ends
	})
}

// A server of before has no trunks, and is asked for none again.
func TestADelegateWithoutTrunksServesWatches(t *testing.T) {
	ca := newAuthority(t)
	var trunks atomic.Int32
	d := startDelegate(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			trunks.Add(1)
		}
		io.WriteString(w, "event")
	}))
	inner := d.Server.http.Handler
	d.Server.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isTrunk(r) {
			trunks.Add(1)
		}
		inner.ServeHTTP(w, r)
	})
	f := newTestForwarder(t, ca, d.address, func(c *ForwarderConfig) { c.Watches = asksForEvents })
	server := startFront(t, f)
	client := clientOf(server, false)
	defer client.CloseIdleConnections()
	for range 3 {
		resp, err := client.Get(server.URL + "/?watch=1")
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp.Body); got != "event" {
			t.Errorf("%q", got)
		}
		eventually(t, "the answer is known", func() bool {
			f.trunks.mu.Lock()
			defer f.trunks.mu.Unlock()
			return f.trunks.refused != nil
		})
	}
	if trunks.Load() != 1 {
		t.Errorf("asked %d times", trunks.Load())
	}
}

// The name of a trunk is of use to nobody but who made it.
func TestNobodyElseGetsOntoATrunk(t *testing.T) {
	ca := newAuthority(t)
	other := identity.Peer{Name: head2core.Name, Role: identity.Self}
	d := startDelegateThat(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "secret")
	}), func(c *ServerConfig) {
		c.Watches, c.Admit = asksForEvents, func(identity.Peer) bool { return true }
	})
	config := ca.clientTLS()
	config.NextProtos, config.Certificates = []string{"http/1.1"}, []tls.Certificate{ca.client(other)}
	trunk := must(tls.Dial("tcp", d.address, config))
	defer trunk.Close()
	io.WriteString(trunk, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: triptych-trunk\r\nTriptych-Trunk: mine\r\n\r\n")
	if line, err := bufio.NewReader(trunk).ReadString('\n'); !strings.Contains(line, "101") {
		t.Fatal(line, err)
	}
	c := d.open(t)
	resp := ask(t, c, bufio.NewReader(c), "GET /?watch=1 HTTP/1.1\r\nHost: x\r\nTriptych-Trunk: mine/1\r\n\r\n")
	if got := readAll(t, resp.Body); got != "secret" || resp.Header.Get(trunkHeader) != trunkOver {
		t.Errorf("%q %v", got, resp.Header)
	}
}

// What a client says of trunks is not for the hop.
func TestAClientCannotNameATrunk(t *testing.T) {
	got := make(chan http.Header, 1)
	f := startChain(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		w.Header().Set(trunkHeader, "x/1")
	})
	req := must(http.NewRequest(http.MethodGet, f.URL+"/?watch=1", nil))
	req.Header.Set(trunkHeader, "x/1")
	resp, err := f.http1().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if h := <-got; len(h[trunkHeader]) > 0 || len(resp.Header[trunkHeader]) > 0 {
		t.Errorf("%v %v", h, resp.Header)
	}
}

// Whoever takes more than it was sent, or sends what nobody has room for, is not heard any further.
func TestATrunkTakesNoNonsense(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		ends := make(chan error, 1)
		c := startTrunkChain(t, forever(ends))
		trunk := c.trunk(t)
		client := c.http1()
		defer client.CloseIdleConnections()
		r := wantBegun(t, c.watch(t, client, ""))
		trunk.tell(trunk.last, trunkWindow)
		if _, err := io.ReadAll(r); err == nil {
			t.Error("the watch goes on")
		}
		<-ends
	})
	t.Run("forwarder", func(t *testing.T) {
		for name, frames := range map[string][]byte{
			"too long": appendTrunkFrame(nil, 1, maxTrunkFrame+1),
			"too many": bytes.Repeat(append(appendTrunkFrame(nil, 1, maxTrunkFrame), make([]byte, maxTrunkFrame)...), trunkWindow/maxTrunkFrame+1),
			"cut off":  append(appendTrunkFrame(nil, 1, 100), 1),
		} {
			trunk := &trunkIn{lanes: map[uint32]*laneIn{}, conn: &conn{r: bufio.NewReader(bytes.NewReader(frames))}}
			trunk.add()
			if err := trunk.read(); err == nil || name != "cut off" && err == io.EOF {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A client that leaves before its watch is answered may leave a lane of which no forwarder knows. Its handler does not stay.
func TestAWatchThatNobodyConfirmsEnds(t *testing.T) {
	ends := make(chan error, 1)
	c := startTrunkChain(t, forever(ends))
	trunk := c.trunk(t)
	conn := c.delegate.open(t)
	resp := ask(t, conn, bufio.NewReader(conn), "GET /?watch=1 HTTP/1.1\r\nHost: x\r\nTriptych-Trunk: "+laneName(trunk.name, 99)+"\r\n\r\n")
	if resp.ContentLength != 0 || resp.Header.Get(trunkHeader) != laneName(trunk.name, 99) {
		t.Fatalf("%v %v", resp.ContentLength, resp.Header)
	}
	for _, t := range c.delegate.trunks.trunks {
		t.lanes[99].confirm.Reset(0)
	}
	select {
	case <-ends:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
}

// While a forwarder does not read at all, what waits for it is bounded, and all of it arrives when it does.
func TestATrunkThatIsNotReadHoldsNoMoreThanItsQueue(t *testing.T) {
	wire, end := net.Pipe() // has no buffer
	defer end.Close()
	trunk := &trunkOut{conn: wire, fresh: t.Context(), wake: make(chan struct{}, 1), over: make(chan struct{}), left: make(chan struct{}), lanes: map[uint32]*laneOut{}}
	defer trunk.lose(nil)
	go trunk.write()
	const lanes = 2 * maxTrunkQueue / trunkWindow
	var all sync.WaitGroup
	for i := range uint32(lanes) {
		l := &laneOut{
			trunk: trunk, number: i, room: trunkWindow, cancel: func(error) {},
			more: make(chan struct{}, 1), gone: make(chan struct{}), ended: make(chan struct{}),
		}
		l.open()
		all.Go(func() {
			if _, err := l.write(make([]byte, trunkWindow)); err != nil {
				t.Error(err)
			}
			l.end(true)
		})
	}
	queued := func() int {
		trunk.mu.Lock()
		defer trunk.mu.Unlock()
		return int(trunk.queued - trunk.written)
	}
	eventually(t, "the queue is full", func() bool { return queued() >= maxTrunkQueue })
	if got := queued(); got > maxTrunkQueue+2*maxTrunkFrame {
		t.Errorf("%d bytes wait", got)
	}
	read := make(chan int64, 1)
	go func() { n, _ := io.Copy(io.Discard, end); read <- n }()
	all.Wait()
	trunk.lose(nil)
	if got, want := <-read, int64(lanes*(trunkWindow+trunkWindow/maxTrunkFrame*trunkFrameHeader+trunkFrameHeader)); got != want {
		t.Errorf("%d bytes arrived, want %d", got, want)
	}
}

// Nobody waits for a handler that breaks off before it has answered.
func TestAHandlerThatFailsBeforeItAnswers(t *testing.T) {
	broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	eachWatch(t, broken, func(t *testing.T, c *trunkChain, client *http.Client) {
		resp, err := client.Get(c.URL + "/?watch=1")
		if err != nil {
			t.Fatal(err)
		}
		wantUnavailable(t, resp, nil)
	})
}

func FuzzTrunkFrames(f *testing.F) {
	f.Add(append(appendTrunkFrame(nil, 1, 5), "event"...))
	f.Add(appendTrunkFrame(nil, 1, 0))
	f.Add(appendTrunkFrame(nil, 2, maxTrunkFrame+1))
	f.Fuzz(func(t *testing.T, stream []byte) {
		trunk := &trunkIn{lanes: map[uint32]*laneIn{}, conn: &conn{r: bufio.NewReader(bytes.NewReader(stream))}}
		l := trunk.add()
		trunk.lose(trunk.read())
		if l.held != nil && len(*l.held) > trunkWindow {
			t.Errorf("holds %d bytes", len(*l.held))
		}
	})
}

// A replica that is not asked any more gets no trunk, and one that is being made does not stay.
func TestARetiredForwarderMakesNoTrunk(t *testing.T) {
	c := startTrunkChain(t, forever(nil))
	s := &c.forwarder.trunks
	s.board(c.forwarder.pool.current()) // has one made
	c.forwarder.retire()
	eventually(t, "it is made", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.making
	})
	if l := s.board(c.forwarder.pool.current()); l != nil || s.making {
		t.Error("another one is made")
	}
	eventually(t, "no connection is left", func() bool { return len(c.delegate.peers.all()) == 0 })
}

// A watch that was begun with a process that is gone does not take the trunk from those of its successor.
func TestALateWatchLeavesTheTrunkAlone(t *testing.T) {
	c := startTrunkChain(t, forever(nil))
	before := c.forwarder.pool.current()
	c.forwarder.DelegateLost()
	trunk := c.trunk(t)
	if c.forwarder.trunks.board(before) != nil {
		t.Error("a watch of the life before is on it")
	}
	if c.trunk(t) != trunk {
		t.Error("there is another trunk")
	}
}

// Who says something to a server that takes nothing does not wait for ever, and the trunk is lost.
func TestAServerThatTakesNothingHoldsNobodyUp(t *testing.T) {
	_, near := socketPair(t)
	if err := near.(*net.UnixConn).SetWriteBuffer(1); err != nil {
		t.Fatal(err)
	}
	c := connOver(near)
	trunk := &trunkIn{conn: c, lanes: map[uint32]*laneIn{}, end: c.abort}
	read := make(chan error)
	go func() { read <- trunk.read() }()
	for told := false; !told; {
		trunk.add().abandon()
		select {
		case <-read:
			told = true
		default:
		}
	}
}
