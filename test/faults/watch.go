package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Event is what a Watcher saw, and a line of a kept history.
type Event struct {
	Watcher string `json:"watcher"`
	// Type is ADDED, MODIFIED, DELETED, BOOKMARK or RELIST, which is a list after 410:
	// nothing is known of what was between the event before and its Saw.RV.
	Type string  `json:"type"`
	Name string  `json:"name,omitempty"`
	Saw  Version `json:"saw"`
	// Objects are what a RELIST found.
	Objects map[string]Version `json:"objects,omitempty"`
	At      int64              `json:"at"`
}

// Watcher follows a kind for the life of a scene: from the last resourceVersion
// whenever its watch ends, from a new list when it is told that this is too old.
type Watcher struct {
	name   string
	kind   kind
	http   *http.Client
	host   string
	record *Record
	// restless ends its watches itself, after some events.
	restless bool
	chance   *rand.Rand

	mu       sync.Mutex
	last     uint64
	objects  map[string]Version // of the last list
	failures map[string]int
}

func newWatcher(config *rest.Config, k kind, restless bool, record *Record, chance *rand.Rand) (*Watcher, error) {
	w := &Watcher{name: k.name, kind: k, record: record, restless: restless, chance: chance, failures: map[string]int{}}
	if restless {
		w.name += ", restless"
	}
	var err error
	w.http, w.host, err = newHTTP(config)
	return w, err
}

// run watches until ctx ends.
func (w *Watcher) run(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ctx.Err() == nil {
		var err error
		if w.at() == 0 {
			err = w.list(ctx)
		} else {
			err = w.watch(ctx)
		}
		if err != nil {
			w.count(err.Error())
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (w *Watcher) at() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *Watcher) count(failure string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures[failure]++
}

// failed returns what went wrong since it was called last.
func (w *Watcher) failed() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	failures := w.failures
	w.failures = map[string]int{}
	return failures
}

func (w *Watcher) saw(e Event) {
	e.Watcher, e.At = w.name, w.record.now()
	w.record.addEvent(w, e)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = e.Saw.RV
}

func (w *Watcher) get(ctx context.Context, query string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.host+w.kind.path+query, nil)
	if err != nil {
		panic(err) // the paths are ours
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer")
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusNotFound:
		err = fmt.Errorf(failedNotFound)
	case http.StatusUnauthorized, http.StatusForbidden:
		err = fmt.Errorf(failedDenied)
	case http.StatusGone:
		w.forget()
		err = fmt.Errorf("410")
	default:
		err = fmt.Errorf("%d", resp.StatusCode)
	}
	resp.Body.Close()
	return nil, err
}

// forget has it list next.
func (w *Watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = 0
}

func (w *Watcher) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := w.get(ctx, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []object
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return fmt.Errorf("no answer")
	}
	rv, err := strconv.ParseUint(list.Metadata.ResourceVersion, 10, 64)
	if err != nil {
		return err
	}
	e := Event{Type: "RELIST", Saw: Version{RV: rv}, Objects: map[string]Version{}}
	for _, o := range list.Items {
		e.Objects[o.Metadata.Name] = o.version()
	}
	w.saw(e)
	return nil
}

// watch follows one watch to its end.
func (w *Watcher) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := w.get(ctx, fmt.Sprintf("?watch=true&allowWatchBookmarks=true&resourceVersion=%d", w.at()))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	events := json.NewDecoder(resp.Body)
	for left := 20 + w.chance.IntN(40); !w.restless || left > 0; left-- {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if events.Decode(&e) != nil {
			return nil // watches end; the next goes on
		}
		if e.Type == "ERROR" {
			var said struct {
				Code   int
				Reason string
			}
			_ = json.Unmarshal(e.Object, &said)
			if said.Code == http.StatusGone {
				w.forget()
			}
			return fmt.Errorf("%d in the stream", said.Code)
		}
		var o object
		if err := json.Unmarshal(e.Object, &o); err != nil {
			return err
		}
		w.saw(Event{Type: e.Type, Name: o.Metadata.Name, Saw: o.version()})
	}
	return nil
}
