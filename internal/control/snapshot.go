package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// SnapshotRequest asks for a snapshot of etcd, keys and settings.
type SnapshotRequest struct {
	// Path is that of the file to make, absolute.
	Path string `json:"path"`
	// RecipientsFile and PassphraseFile say for whom it is encrypted: one of them, or none. They
	// are absolute paths; secrets themselves are not sent.
	RecipientsFile string `json:"recipientsFile,omitempty"`
	PassphraseFile string `json:"passphraseFile,omitempty"`
}

// Snapshot is one that was taken.
type Snapshot struct {
	Path  string    `json:"path"`
	Taken time.Time `json:"taken"`
	// Bytes is the size of the file. Revision and Keys are of etcd's data in it, and 0 where
	// they are not known.
	Bytes    int64 `json:"bytes"`
	Revision int64 `json:"revision,omitempty"`
	Keys     int   `json:"keys,omitempty"`
}

// Snapshots is how the schedule of snapshots stands.
type Snapshots struct {
	// Schedule is as it was given, Dir where they are put, Keep how many are kept.
	Schedule string `json:"schedule"`
	Dir      string `json:"dir"`
	Keep     int    `json:"keep"`
	// Next is when the next one is due, Last the newest there is.
	Next *time.Time `json:"next,omitempty"`
	Last *Snapshot  `json:"last,omitempty"`
	// Problem says why the last attempt failed, in one line; Failures is how many have since
	// the start of the supervisor.
	Problem  string `json:"problem,omitempty"`
	Failures int    `json:"failures"`
	// All there are, the newest first.
	All []Snapshot `json:"all,omitempty"`
}

// SnapshotEvent is a line of the answer: how far it has come, or one of the other two.
type SnapshotEvent struct {
	Step  string `json:"step,omitempty"`
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
	// Snapshot is the last line of success, Failure that of the opposite.
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Failure  *failure  `json:"failure,omitempty"`
}

// eventPause is the shortest time between two lines about one step.
const eventPause = 100 * time.Millisecond

// TakeSnapshot has the supervisor take a snapshot. tell is called now and then.
func (c *Client) TakeSnapshot(ctx context.Context, r SnapshotRequest, tell func(step string, done, total int64)) (*Snapshot, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://supervisor/v1/snapshot", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(request)
	if err != nil {
		return nil, explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return nil, refused(resp)
	}
	for events := json.NewDecoder(resp.Body); ; {
		var e SnapshotEvent
		err := events.Decode(&e)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errors.New("the supervisor ended before the snapshot was complete")
		case err != nil:
			return nil, fmt.Errorf("cannot read the supervisor's answer: %w", err)
		case e.Failure != nil:
			return nil, e.Failure.err()
		case e.Snapshot != nil:
			return e.Snapshot, nil
		}
		tell(e.Step, e.Done, e.Total)
	}
}

// Snapshots returns how the schedule stands, with all snapshots there are.
func (c *Client) Snapshots(ctx context.Context) (*Snapshots, error) {
	s := &Snapshots{}
	return s, c.call(ctx, http.MethodGet, "/v1/snapshot", nil, s)
}

// takeSnapshot streams how a snapshot is taken.
func takeSnapshot(s Supervisor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked SnapshotRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			answer(w, http.StatusBadRequest, failure{Error: err.Error()})
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		lines, flush := json.NewEncoder(w), http.NewResponseController(w)
		send := func(e SnapshotEvent) {
			_ = lines.Encode(e)
			_ = flush.Flush()
		}
		var last SnapshotEvent
		var at time.Time
		done, err := s.TakeSnapshot(r.Context(), asked, func(step string, done, total int64) {
			if e := (SnapshotEvent{Step: step, Done: done, Total: total}); step != last.Step || done == total || time.Since(at) > eventPause {
				last, at = e, time.Now()
				send(e)
			}
		})
		if err != nil {
			f := failureOf(err)
			send(SnapshotEvent{Failure: &f})
			return
		}
		send(SnapshotEvent{Snapshot: &done})
	}
}
