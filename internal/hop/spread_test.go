package hop

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"triptych.dev/triptych/internal/tier"
)

// troupe is a Spread over delegates that answer with their names.
type troupe struct {
	t      *testing.T
	ca     *authority
	spread *Spread
	all    []Replica

	mu            sync.Mutex
	away, unready map[string]bool
}

func newTroupe(t *testing.T, names ...string) *troupe {
	return newTroupeOf(t, newAuthority(t), names...)
}

func newTroupeOf(t *testing.T, ca *authority, names ...string) *troupe {
	s := &troupe{t: t, ca: ca, away: map[string]bool{}, unready: map[string]bool{}}
	s.spread = NewSpread(ForwarderConfig{Delegate: tier.Core, TLS: s.ca.clientTLS()})
	t.Cleanup(s.spread.Close)
	for _, name := range names {
		d := startDelegate(t, s.ca, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
		s.add(name, d.address)
	}
	return s
}

func (s *troupe) add(name, address string) {
	s.all = append(s.all, Replica{
		Name: name, Address: address,
		Available: func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.away[name] {
				return errors.New("away")
			}
			return nil
		},
		Ready: func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return !s.unready[name]
		},
	})
	s.spread.Set(s.all)
}

func (s *troupe) set(states map[string]bool, name string, to bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	states[name] = to
}

// ask sends a request from the client connection and returns who answered it.
func (s *troupe) ask(client, method string) (code int, by string) {
	s.t.Helper()
	r := httptest.NewRequest(method, "/", strings.NewReader(""))
	r.RemoteAddr = client
	w := httptest.NewRecorder()
	s.spread.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestAClientStaysAtItsReplica(t *testing.T) {
	s := newTroupe(t, "core-0", "core-1", "core-2")
	of, clients := map[string]string{}, map[string]int{}
	for round := range 4 {
		for i := range 9 {
			client := fmt.Sprintf("10.0.0.1:%d", i)
			_, by := s.ask(client, http.MethodGet)
			if round > 0 && by != of[client] {
				t.Errorf("%s went from %s to %s", client, of[client], by)
			}
			if of[client] = by; round == 0 {
				clients[by]++
			}
		}
	}
	for _, r := range s.all {
		if clients[r.Name] != 3 {
			t.Errorf("9 clients were spread like this: %v", clients)
		}
	}
}

func TestAClientIsMovedOnlyWhenItsReplicaIsNotReadyAndAnotherIs(t *testing.T) {
	s := newTroupe(t, "core-0", "core-1")
	_, first := s.ask("a", http.MethodGet)
	other := map[string]string{"core-0": "core-1", "core-1": "core-0"}[first]
	s.set(s.unready, first, true)
	s.set(s.unready, other, true)
	if _, by := s.ask("a", http.MethodGet); by != first {
		t.Errorf("moved to %s, which is no better", by)
	}
	s.set(s.unready, other, false)
	if _, by := s.ask("a", http.MethodGet); by != other {
		t.Error("not moved from a replica that is not ready")
	}
	s.set(s.unready, first, false)
	if _, by := s.ask("a", http.MethodGet); by != other {
		t.Error("moved back from a replica that is ready")
	}
	s.set(s.away, first, true)
	s.set(s.away, other, true)
	if code, _ := s.ask("a", http.MethodGet); code != http.StatusServiceUnavailable {
		t.Errorf("%d with nobody there", code)
	}
}

// A replica that dies takes no read along while another one is there, and no write
// that it cannot have seen.
func TestWhatAReplicaLosesIsAskedOfAnother(t *testing.T) {
	dying := startScripted(t, lostAfter(t, ""))
	s := newTroupeOf(t, dying.ca)
	s.add("core-0", dying.address)
	nobody := must(net.Listen("tcp", "127.0.0.1:0"))
	nobody.Close()
	s.add("core-1", nobody.Addr().String())
	d := startDelegate(t, s.ca, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "core-2") }))
	s.set(s.away, "core-2", true)
	s.add("core-2", d.address)
	s.spread.choose("read")
	s.spread.choose("write")
	if s.spread.clients["read"].replica.Name != "core-0" || s.spread.clients["write"].replica.Name != "core-1" {
		t.Fatal("the clients are where they should not be")
	}
	s.set(s.away, "core-2", false)
	s.set(s.unready, "core-1", true)
	if code, by := s.ask("read", http.MethodGet); code != http.StatusOK || by != "core-2" {
		t.Errorf("a read: %d by %q", code, by)
	}
	s.set(s.unready, "core-1", false)
	s.set(s.unready, "core-0", true)
	if code, by := s.ask("write", http.MethodPost); code != http.StatusOK || by != "core-2" {
		t.Errorf("a write: %d by %q", code, by)
	}
}

func TestARetiredReplicaAnswersWhatItHasAndGetsNoMore(t *testing.T) {
	s := newTroupe(t, "core-1")
	asked, answer := make(chan struct{}), make(chan struct{})
	d := startDelegate(t, s.ca, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		fmt.Fprint(w, "core-0")
	}))
	s.all = nil
	s.add("core-0", d.address)
	last := make(chan string)
	go func() {
		_, by := s.ask("a", http.MethodGet)
		last <- by
	}()
	<-asked
	old := s.spread.replicas[0]
	began := time.Now()
	other := startDelegate(t, s.ca, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "core-1") }))
	s.all = nil
	s.add("core-1", other.address)
	if took := time.Since(began); took < setPatience {
		t.Errorf("after %s its process might have stopped before it had read what it was sent", took)
	}
	if _, by := s.ask("a", http.MethodGet); by != "core-1" {
		t.Errorf("answered by %q", by)
	}
	close(answer)
	if by := <-last; by != "core-0" {
		t.Errorf("what was in flight was answered by %q", by)
	}
	eventually(t, "its connections to be closed", func() bool { return old.pool.size() == 0 })
}

func TestQuietClientsAreForgotten(t *testing.T) {
	s := newTroupe(t, "core-0", "core-1")
	s.ask("quiet", http.MethodGet)
	s.spread.choose("busy")
	for _, c := range s.spread.clients {
		c.seen = time.Now().Add(-2 * clientMemory)
	}
	s.spread.swept, s.spread.counted = time.Now().Add(-2*clientMemory), time.Time{}
	s.ask("new", http.MethodGet)
	if s.spread.clients["quiet"] != nil || s.spread.clients["busy"] == nil || s.spread.clients["new"] == nil {
		t.Error(s.spread.clients)
	}
	if n := s.spread.replicas[0].load + s.spread.replicas[1].load; n != 2 {
		t.Errorf("%d clients are counted", n)
	}
}

// A process that is added gets its part of those who come, and not all of them until it has had as many as the others
// had in the last minutes.
func TestWhoHasGoneIsNoLoad(t *testing.T) {
	s := newTroupe(t, "core-0", "core-1")
	for i := range 20 {
		s.ask(fmt.Sprint("gone ", i), http.MethodGet)
	}
	for _, c := range s.spread.clients {
		c.seen = time.Now().Add(-2 * clientQuiet)
	}
	d := startDelegate(t, s.ca, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "core-2") }))
	s.add("core-2", d.address)
	s.spread.counted = time.Time{}
	came := map[string]int{}
	for i := range 9 {
		_, by := s.ask(fmt.Sprint("came ", i), http.MethodGet)
		came[by]++
	}
	if came["core-0"] != 3 || came["core-1"] != 3 || came["core-2"] != 3 {
		t.Errorf("9 clients were spread like this: %v", came)
	}
	if _, by := s.ask("gone 0", http.MethodGet); by != "core-0" {
		t.Errorf("who was quiet is moved to %s", by)
	}
}
