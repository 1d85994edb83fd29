package faults

import (
	"fmt"
	"maps"
)

// watched judges what one Watcher saw, round by round.
type watched struct {
	watcher *Watcher
	fed     int // events so far
	last    uint64
	objects map[string]Version

	relists int
	// of this round
	changes  map[uint64]Event // ADDED and MODIFIED by resourceVersion
	deleted  map[string]int
	holes    [][2]uint64 // from, exclusive, to, inclusive: covered by a list
	problems []string
}

func (j *watched) problem(format string, args ...any) {
	j.problems = append(j.problems, "the watcher of "+j.watcher.name+": "+fmt.Sprintf(format, args...))
}

// round judges the events since the last call, beside the Ops of that round, and
// returns what is wrong and how often the watcher had to list again.
func (j *watched) round(events []Event, ops []Op) (problems []string, relists int) {
	j.changes, j.deleted, j.holes, j.problems, j.relists = map[uint64]Event{}, map[string]int{}, nil, nil, 0
	for _, e := range events[j.fed:] {
		j.feed(e)
	}
	j.fed = len(events)
	j.compare(ops)
	return j.problems, j.relists
}

func (j *watched) feed(e Event) {
	rv := e.Saw.RV
	if e.Type == "RELIST" {
		if j.objects != nil {
			j.relists++
			j.holes = append(j.holes, [2]uint64{j.last, rv})
		}
		if rv < j.last {
			j.problem("a list is of %d, after %d", rv, j.last)
		}
		j.objects, j.last = maps.Clone(e.Objects), rv
		return
	}
	if rv < j.last || rv == j.last && e.Type != "BOOKMARK" {
		j.problem("%s %s at %d comes after %d", e.Type, e.Name, rv, j.last)
	}
	j.last = rv
	_, there := j.objects[e.Name]
	switch e.Type {
	case "BOOKMARK":
	case "ADDED":
		if there {
			j.problem("%s is added at %d and was there: its deletion was not shown", e.Name, rv)
		}
		j.objects[e.Name], j.changes[rv] = e.Saw, e
	case "MODIFIED":
		if !there {
			j.problem("%s is modified at %d and was not there: its creation was not shown", e.Name, rv)
		}
		j.objects[e.Name], j.changes[rv] = e.Saw, e
	case "DELETED":
		if !there {
			j.problem("%s is deleted at %d and was not there", e.Name, rv)
		}
		delete(j.objects, e.Name)
		j.deleted[e.Name]++
	default:
		j.problem("an event %q", e.Type)
	}
}

func (j *watched) inHole(rv uint64) bool {
	for _, hole := range j.holes {
		if rv > hole[0] && rv <= hole[1] {
			return true
		}
	}
	return false
}

// compare holds the events against what the writers were told.
func (j *watched) compare(ops []Op) {
	writes, deletes := map[int64]Op{}, map[string]int{}
	for _, op := range ops {
		if op.Kind != j.watcher.kind.name {
			continue
		}
		if op.Value != 0 {
			writes[op.Value] = op
		}
		if op.Outcome != Done {
			continue
		}
		switch op.Verb {
		case Get:
		case Delete:
			deletes[op.Name]++
		default:
			if e := j.changes[op.Saw.RV]; (e.Name != op.Name || e.Saw.Value != op.Value) && !j.inHole(op.Saw.RV) {
				j.problem("%s of %s at %d was acknowledged and not shown", op.Verb, op.Name, op.Saw.RV)
			}
		}
	}
	for name, n := range deletes {
		if j.deleted[name] < n && len(j.holes) == 0 {
			j.problem("%s was deleted %d times, shown are %d", name, n, j.deleted[name])
		}
	}
	shown := map[int64]uint64{}
	for rv, e := range j.changes {
		op, known := writes[e.Saw.Value]
		if !known {
			continue // of a round before, whose answer was unknown
		}
		if op.Outcome != Done && op.Outcome != Unknown {
			j.problem("%s of %s was answered %d and happened, at %d", op.Verb, op.Name, op.Code, rv)
		}
		if other, twice := shown[e.Saw.Value]; twice {
			j.problem("one %s of %s happened twice, at %d and %d", op.Verb, op.Name, other, rv)
		}
		shown[e.Saw.Value] = rv
	}
}
