package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Move tells that the data of the embedded etcd is being moved to an etcd of the user's, or was. It is
// kept with the data, whose place a restore takes with all that is there.
type Move struct {
	// ID is of this data, so that what was begun elsewhere is known to be of it.
	ID string `json:"id"`
	// Flags are those to start the supervisor with from then on.
	Flags []string `json:"flags,omitempty"`
	// At is when it was done; zero is that it is not.
	At time.Time `json:"at,omitzero"`
}

// MovedError tells that the data is that of before a move.
type MovedError struct {
	move Move
	file string
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("its data was moved to another etcd on %s, and is that of then: start with %s (to forget what was written there since and use this again, remove %s)",
		e.move.At.UTC().Format("2006-01-02 15:04:05 MST"), strings.Join(e.move.Flags, " "), e.file)
}

func (d Dir) move() string { return filepath.Join(d.Etcd(), "moved.json") }

// Move returns the move that was begun or done, or nothing.
func (d Dir) Move() (m Move, err error) {
	data, err := os.ReadFile(d.move())
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return m, fmt.Errorf("cannot read where the data of %s was moved to: %s: %w", d.Root, d.move(), explain(err))
	}
	return m, nil
}

// Unmoved returns a *MovedError if the data was moved to another etcd.
func (d Dir) Unmoved() error {
	m, err := d.Move()
	if err != nil || m.At.IsZero() {
		return err
	}
	return fmt.Errorf("cannot use data directory %s: %w", d.Root, &MovedError{m, d.move()})
}

// SetMove writes it down.
func (h *Handle) SetMove(m Move) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(h.move(), append(data, '\n'), 0o600)
}
