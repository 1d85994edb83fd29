package faults

import (
	"fmt"
	"slices"
	"sync"
)

const (
	objectsPerKind = 4
	// worn is after how many requests an object is left for a new one: a checker takes
	// longer the longer a history is.
	worn = 120
)

// shelf holds the objects of one kind that a round is at work on. One about which there
// is a write that nobody knows the outcome of is left for a new one at once: such a write
// may happen at any time from then on, and with several of them open a checker has no end.
type shelf struct {
	mu      sync.Mutex
	round   int
	current []string
	uses    map[string]int
	every   []string
}

// begin clears it for a round.
func (s *shelf) begin(round int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round, s.current, s.uses, s.every = round, nil, map[string]int{}, nil
	for range objectsPerKind {
		s.current = append(s.current, s.fresh())
	}
}

func (s *shelf) fresh() string {
	name := fmt.Sprintf("r%d-%d", s.round, len(s.every))
	s.every = append(s.every, name)
	return name
}

// names are what is worked on now.
func (s *shelf) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.current)
}

// all are the names of the round.
func (s *shelf) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.every)
}

// used notes a request about an object of the shelf.
func (s *shelf) used(op Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.current, op.Name)
	if i < 0 {
		return
	}
	s.uses[op.Name]++
	if s.uses[op.Name] >= worn || op.Outcome == Unknown && op.Verb != Get {
		s.current[i] = s.fresh()
	}
}
