// Package events is what has become of each process, in a file that outlives the supervisor: every change of
// a state, stage or phase, and why.
package events

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	// megabytes and backups bound the files: some ten thousand events each.
	megabytes = 2
	backups   = 1
	// Supervisor is the process of events that are of the whole.
	Supervisor = "supervisor"
)

// What an event tells of.
const (
	// State is one of lifecycle.State, of a process.
	State = "state"
	// Stage is one of tier.Stage, which a process has reached.
	Stage = "stage"
	// Phase is one of lifecycle.Phase, of the whole.
	Phase = "phase"
	// Note is something that was done.
	Note = "note"
)

// Event is one change.
type Event struct {
	Time time.Time `json:"time"`
	// Process is a replica such as core-0, etcd, or Supervisor.
	Process string `json:"process"`
	// PID is of the process of the time, 0 if there was none.
	PID int `json:"pid,omitempty"`
	// Kind is State, Stage, Phase or Note.
	Kind string `json:"kind"`
	// From is empty where nothing was before.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Reason is why, as far as that is known.
	Reason string `json:"reason,omitempty"`
	// Seconds are how long the process took to reach the stage, from its start.
	Seconds float64 `json:"seconds,omitempty"`
}

// Of tells whether the event is of a tier, a replica, etcd or the supervisor, by that name.
func (e Event) Of(name string) bool {
	return e.Process == name || strings.HasPrefix(e.Process, name+"-")
}

// Recorder writes events. Its methods may be called from any goroutine.
type Recorder struct {
	mu   sync.Mutex
	file *lumberjack.Logger
}

// NewRecorder returns a Recorder that goes on with the file at path, made 0600 by the first event.
func NewRecorder(path string) *Recorder {
	return &Recorder{file: &lumberjack.Logger{Filename: path, MaxSize: megabytes, MaxBackups: backups}}
}

// Record adds an event, of now if it has no time. That a disk is full is no reason to fail.
func (r *Recorder) Record(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // it consists of strings and numbers
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.file.Write(append(line, '\n'))
}

// Close closes the file.
func (r *Recorder) Close() error { return r.file.Close() }

// Read returns all events in the file at path and in what was rotated away before, the oldest first. None is
// no error. A line that is no event, such as one that was cut off with the machine's power, is left out.
func Read(path string) ([]Event, error) {
	ending := filepath.Ext(path)
	files, err := filepath.Glob(strings.TrimSuffix(path, ending) + "-*" + ending)
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []Event
	for _, file := range append(files, path) {
		in, err := readFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the events: %w", err)
		}
		all = append(all, in...)
	}
	return all, nil
}

func readFile(path string) ([]Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if e, ok := Parse(lines.Bytes()); ok {
			all = append(all, e)
		}
	}
	return all, lines.Err()
}

// Replicas is which replica a process was, by its number, as far as the events at path say. Without events it is
// empty.
func Replicas(path string) map[int]string {
	all, _ := Read(path) // what can be read counts
	return ReplicasIn(all)
}

// ReplicasIn is which replica a process was, by its number, as far as these events say.
func ReplicasIn(all []Event) map[int]string {
	of := map[int]string{}
	for _, e := range all {
		if e.PID != 0 && e.Process != Supervisor {
			of[e.PID] = e.Process
		}
	}
	return of
}

// Parse reads one line.
func Parse(line []byte) (e Event, ok bool) {
	return e, json.Unmarshal(line, &e) == nil && e.Kind != ""
}
