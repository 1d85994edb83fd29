package faults

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// mode is what a link does to what crosses it.
type mode string

const (
	through mode = "through"
	// cut ends connections and refuses new ones.
	cut mode = "cut"
	// reset does so in the middle of what is sent.
	reset mode = "reset"
	// oneWay holds back what the server says.
	oneWay mode = "one way"
	// halfOpen has the server vanish: its connections end, and the client is not told.
	halfOpen mode = "half open"
	// slow delays every piece of every stream, in both directions.
	slow mode = "slow"
)

// delay of a slow link, each way and each piece.
const delay = 150 * time.Millisecond

// link is a way between two processes that can break.
type link struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed when mode changes
	open    map[*crossing]bool
}

// crossing is one connection over a link.
type crossing struct{ client, server *net.TCPConn }

// newLink forwards from one address to another, until the test ends.
func newLink(t *testing.T, from, to string) *link {
	t.Helper()
	l := &link{listener: harness.Must(net.Listen("tcp", from))(t), to: to, mode: through, changed: make(chan struct{}), open: map[*crossing]bool{}}
	t.Cleanup(func() {
		l.listener.Close()
		l.set(cut)
	})
	go l.accept()
	return l
}

// set changes the mode, and does to what is open what it means.
func (l *link) set(m mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.mode
	l.mode = m
	close(l.changed)
	l.changed = make(chan struct{})
	for c := range l.open {
		switch {
		case m == cut:
			c.client.Close()
			c.server.Close()
		case m == reset, before == halfOpen: // as a host that comes back does
			c.client.SetLinger(0)
			c.client.Close()
			c.server.Close()
		case m == halfOpen:
			c.server.Close()
		}
	}
}

func (l *link) now() (mode, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode, l.changed
}

func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		go l.serve(conn.(*net.TCPConn))
	}
}

func (l *link) serve(client *net.TCPConn) {
	defer client.Close()
	m, changed := l.now()
	switch m {
	case cut:
		return
	case reset:
		client.SetLinger(0)
		return
	case halfOpen:
		<-changed
		return
	}
	conn, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer conn.Close()
	c := &crossing{client: client, server: conn.(*net.TCPConn)}
	l.mu.Lock()
	l.open[c] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, c)
	}()
	var both sync.WaitGroup
	both.Go(func() { l.copy(c.server, client, false) })
	both.Go(func() { l.copy(client, c.server, true) })
	both.Wait()
}

// copy takes one direction to its end.
func (l *link) copy(to, from *net.TCPConn, back bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		m, changed := l.now()
		for m == oneWay && back || m == halfOpen {
			<-changed
			m, changed = l.now()
		}
		if m == slow {
			<-time.After(delay)
		}
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			if err == io.EOF {
				to.CloseWrite()
			} else {
				to.Close()
			}
			return
		}
	}
}
