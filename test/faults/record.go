package faults

import (
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"
)

// Record is what clients and watchers saw, in the order in which it was known. It
// is written down as JSON lines too.
type Record struct {
	began time.Time

	mu     sync.Mutex
	ops    []Op
	events map[*Watcher][]Event
	lines  *json.Encoder
}

// NewRecord writes its lines to out.
func NewRecord(out io.Writer) *Record {
	return &Record{began: time.Now(), events: map[*Watcher][]Event{}, lines: json.NewEncoder(out)}
}

// now is the clock of all Ops.
func (r *Record) now() int64 { return int64(time.Since(r.began)) }

func (r *Record) add(ops ...Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, ops...)
	for _, op := range ops {
		_ = r.lines.Encode(op) // a full disk is found out by what is kept
	}
}

func (r *Record) addEvent(w *Watcher, e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[w] = append(r.events[w], e)
	_ = r.lines.Encode(e)
}

// since returns the Ops from the nth on.
func (r *Record) since(n int) []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops[n:])
}

func (r *Record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

func (r *Record) eventsOf(w *Watcher) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events[w])
}
