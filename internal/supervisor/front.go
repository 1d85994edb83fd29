package supervisor

import (
	"errors"
	"net"
	"slices"
	"strconv"

	"github.com/oklog/run"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/insecure"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// front is the insecure port and what it needs to know of the chain. A nil front
// is that of a supervisor without one.
type front struct {
	*insecure.Front
	chain *chain
}

// listenPlain binds the insecure port, if there is to be one, before anything is
// started: that it is taken is not to be found out when the head is ready.
func (s *setup) listenPlain() error {
	o := s.options
	if o.InsecurePort == 0 {
		return nil
	}
	address := net.JoinHostPort(o.InsecureBindAddress.String(), strconv.Itoa(o.InsecurePort))
	l, err := listenTCP(address, nil)
	if err != nil {
		return cannotListen(err, address, "insecure-port", "insecure-bind-address", "")
	}
	s.plain = l
	s.undo = append(s.undo, func() { l.Close() })
	return nil
}

// front makes the front of c; nil if there is to be none.
func (s *setup) front(c *chain) *front {
	if s.plain == nil {
		return nil
	}
	f := &front{chain: c, Front: insecure.New(insecure.Config{
		Listener: s.plain, Head: s.head, TLS: s.papers.delegation.Client(identity.ServerName(s.head)),
	})}
	f.rewire(s)
	c.onStop = f.End
	return f
}

// addTo adds the front's actors. The first ends when the stop begins, which is no
// news to the chain; connections that are still open are closed after its end.
func (f *front) addTo(g *run.Group) {
	if f == nil {
		return
	}
	g.Add(f.Serve, func(error) { f.chain.closeAfter(f) })
	g.Add(func() error { f.chain.followHead(f.HeadLost); return nil }, func(error) {})
}

// rewire tells which replicas of the head there are.
func (f *front) rewire(s *setup) {
	if f != nil {
		f.SetHeads(s.heads(f.chain))
	}
}

// refresh has requests go to the head as who the supervisor is now.
func (f *front) refresh() {
	if f != nil {
		f.Refresh()
	}
}

func (f *front) close() {
	if f != nil {
		f.Close()
	}
}

// shownURL is the front's URL while it is open.
func (f *front) shownURL(now Snapshot) string {
	if f == nil || !now.headEverReady() || now.Phase == lifecycle.PhaseStopping {
		return ""
	}
	return f.URL()
}

func (s Snapshot) headEverReady() bool {
	return slices.ContainsFunc(s.Of(s.Head), func(c Child) bool { return c.EverReady })
}

// available tells why a replica of the head must not be sent requests, or nil. For
// the first time it may when it is ready; a later process, as on every hop, when it
// is prepared.
func (c *chain) available(name string) error {
	now, _ := c.Snapshot()
	switch head := now.Children[name]; {
	case !head.EverReady:
		return errors.New("it has not been ready yet")
	case !head.Stage.AtLeast(tier.Prepared):
		return errors.New("it is away")
	}
	return nil
}

// followHead calls lost with the name of a replica after each process of the head
// that is gone, to the end of the chain. By then available knows.
func (c *chain) followHead(lost func(replica string)) {
	pids := map[string]int{}
	for {
		now, changed := c.Snapshot()
		for _, name := range now.Names {
			is := now.Children[name]
			if is.Tier != now.Head {
				continue
			}
			if pids[name] != 0 && pids[name] != is.PID {
				lost(name)
			}
			pids[name] = is.PID
		}
		select {
		case <-changed:
		case <-c.done:
			return
		}
	}
}
