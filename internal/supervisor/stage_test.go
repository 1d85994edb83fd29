package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/observe"
	"triptych.dev/triptych/internal/tier"
)

// stage is a chain with actors for processes, to be used in a synctest bubble.
type stage struct {
	t     *testing.T
	chain *chain
	ended chan error

	mu     sync.Mutex
	actors map[string][]*actor // every life of each child
	// says are the lines printed; happened are launches, signals and exits.
	says, happened []string
	// script is what a process does, by its child; called when it is made.
	script map[string]func(*actor)
}

// actor is a process that does what the test says.
type actor struct {
	stage *stage
	name  string
	pid   int
	// sink is there once the observer watches.
	sink observe.Sink

	exit chan lifecycle.Exit
	once sync.Once
	// onTerm is what SIGTERM does; nil exits with 0 at once.
	onTerm func()
	// hangs: not even SIGKILL is obeyed at once.
	killTakes time.Duration
}

func (a *actor) PID() int { return a.pid }

func (a *actor) Signal(sig syscall.Signal) {
	a.stage.note("%s %s", a.name, signalName(sig))
	if sig == syscall.SIGKILL {
		time.AfterFunc(a.killTakes, func() { a.end(lifecycle.Exit{Code: -1, Signal: sig}) })
		return
	}
	if a.onTerm == nil {
		a.end(lifecycle.Exit{})
		return
	}
	a.onTerm()
}

// Yield is what only a process that can leave the CPU to others has.
func (a *actor) Yield(on bool) error {
	a.stage.note("%s yields: %v", a.name, on)
	if !on {
		return errNoProgram // any will do
	}
	return nil
}

func (a *actor) end(e lifecycle.Exit) {
	a.once.Do(func() {
		e.Time = time.Now()
		a.exit <- e
	})
}

func (a *actor) Wait() lifecycle.Exit {
	e := <-a.exit
	a.stage.note("%s exits", a.name)
	return e
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, ended: make(chan error, 1), actors: map[string][]*actor{}, script: map[string]func(*actor){}}
	var members []*member
	for _, row := range rows(true, tier.Order, tier.Aggregator) {
		members = append(members, s.member(row.name, row.name, replicaOf(row.name)))
	}
	s.chain = newChain(members, s.say)
	return s
}

// member makes one of the given tier whose actors are called name.
func (s *stage) member(of, name, replica string) *member {
	grace := Grace{Request: 60 * time.Second, Watch: 10 * time.Second}
	all := rows(true, tier.Order, tier.Aggregator)
	row := all[slices.IndexFunc(all, func(r row) bool { return r.name == of })]
	s.script[name] = func(a *actor) { a.sink.Reached(tier.Ready) }
	return &member{
		row: row, replica: replica,
		machine: lifecycle.New(row.lifecycle(grace, func() float64 { return 0 })),
		launch:  func() (running, error) { return s.launch(name) },
		observe: func(ctx context.Context, sink observe.Sink) { s.observe(ctx, name, sink) },
	}
}

func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says = append(s.says, fmt.Sprintf(format, args...))
}

func (s *stage) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.happened = append(s.happened, fmt.Sprintf(format, args...))
}

func (s *stage) launch(name string) (running, error) {
	s.note("%s starts", name)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &actor{stage: s, name: name, pid: 100*len(s.actors[name]) + len(name), exit: make(chan lifecycle.Exit, 1)}
	s.actors[name] = append(s.actors[name], a)
	return a, nil
}

func (s *stage) observe(ctx context.Context, name string, sink observe.Sink) {
	a := s.actor(name)
	a.sink = sink
	s.script[name](a)
	<-ctx.Done()
}

// replicaOf is the first replica of a tier, or etcd.
func replicaOf(name string) string {
	if !slices.Contains(tier.Order, tier.Name(name)) {
		return name
	}
	return replica(tier.Name(name), 0)
}

// actor is the current process of a child.
func (s *stage) actor(name string) *actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	lives := s.actors[name]
	return lives[len(lives)-1]
}

// run starts the chain and lets things settle.
func (s *stage) run() *stage {
	go func() { s.ended <- s.chain.Run() }()
	synctest.Wait()
	return s
}

// pass lets time pass and things settle.
func (s *stage) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) stop() {
	s.chain.Stop(false)
	synctest.Wait()
}

// end waits for the end, however long it takes, and returns the chain's error.
func (s *stage) end() error { return <-s.ended }

func (s *stage) state(name string) lifecycle.State {
	now, _ := s.chain.Snapshot()
	return now.Children[replicaOf(name)].State
}

func (s *stage) wantState(name string, want lifecycle.State) {
	s.t.Helper()
	if got := s.state(name); got != want {
		s.t.Errorf("%s is %s, want %s", name, got, want)
	}
}

func (s *stage) wantPhase(want lifecycle.Phase) {
	s.t.Helper()
	if now, _ := s.chain.Snapshot(); now.Phase != want {
		s.t.Errorf("phase %s, want %s", now.Phase, want)
	}
}

// wantHappened checks what happened since the last time.
func (s *stage) wantHappened(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.happened, want) {
		s.t.Errorf("happened:\n  %s\nwant:\n  %s", strings.Join(s.happened, "\n  "), strings.Join(want, "\n  "))
	}
	s.happened = nil
}

func (s *stage) wantSaid(text string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.says {
		if strings.Contains(line, text) {
			return
		}
	}
	s.t.Errorf("%q was not said in:\n  %s", text, strings.Join(s.says, "\n  "))
}

func described(hashes map[string]string) func(*actor) {
	return func(a *actor) {
		a.sink.Described(&handshakev1.DescribeResponse{
			Protocol: 1, OldestProtocol: 1, Tier: a.name, Settings: hashes, SettingsHash: fmt.Sprint(hashes),
		})
		a.sink.Reached(tier.Ready)
	}
}

var errNoProgram = errors.New("no such program")
