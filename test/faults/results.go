package faults

import (
	"slices"
	"sync"
)

// outcomes are the rounds of a test run.
type outcomes struct {
	mu     sync.Mutex
	rounds []*Round
}

var results outcomes

func (o *outcomes) add(r *Round) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rounds = append(o.rounds, r)
}

func (o *outcomes) all() []*Round {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.rounds)
}
