package faults

import "testing"

// history turns lines of verbs into Ops, one after the other unless they say so.
func history(ops ...Op) []Op {
	for i := range ops {
		op := &ops[i]
		op.Client = i
		if op.Call == 0 {
			op.Call, op.Return = int64(10*i+1), int64(10*i+5)
		}
	}
	return ops
}

// The checker takes what may happen for right and what may not for wrong: were it
// blind, no fault would ever be found.
func TestHistoriesAreJudged(t *testing.T) {
	created := Op{Verb: Create, Value: 1, Outcome: Done, Saw: Version{1, 10}}
	maybe := Op{Verb: Patch, Value: 2, Outcome: Unknown}
	read := func(value int64, rv uint64) Op { return Op{Verb: Get, Outcome: Done, Saw: Version{value, rv}} }
	absent := Op{Verb: Get, Outcome: Absent}
	deleted := Op{Verb: Delete, Outcome: Done}
	for _, test := range []struct {
		name string
		ops  []Op
		fine bool
	}{
		{"read after write", history(created, read(1, 10)), true},
		{"a lost write", history(created, absent), false},
		{"deleted", history(created, deleted, absent), true},
		{"back from the dead", history(created, deleted, read(1, 10)), false},
		{"deleted, perhaps", history(created, Op{Verb: Delete, Outcome: Unknown}, read(1, 10), absent), true},
		{"an unknown write that happened", history(created, maybe, read(2, 11)), true},
		{"an unknown write that happened late", history(created, maybe, read(1, 10), read(2, 11)), true},
		{"an unknown write that did not", history(created, maybe, read(1, 10)), true},
		{"an unknown write that came and went", history(created, maybe, read(2, 11), read(1, 10)), false},
		{"an unknown write with two versions", history(created, maybe, read(2, 11), read(2, 12)), false},
		{"a refused write that happened", history(created, Op{Verb: Patch, Value: 2, Outcome: Refused}, read(2, 11)), false},
		{"a create repeated behind the client's back", history(Op{Verb: Create, Value: 1, Outcome: Exists}, read(1, 10)), false},
		{"a stale read", history(created, Op{Verb: Update, Base: 1, Value: 2, Outcome: Done, Saw: Version{2, 11}}, read(1, 10)), false},
		{"an update of what was replaced", history(created, Op{Verb: Patch, Value: 2, Outcome: Done, Saw: Version{2, 11}},
			Op{Verb: Update, Base: 1, Value: 3, Outcome: Done, Saw: Version{3, 12}}), false},
		{"a conflict without a reason", history(created, Op{Verb: Update, Base: 1, Value: 2, Outcome: Conflict}), false},
		{"a resourceVersion that falls", history(created, Op{Verb: Patch, Value: 2, Outcome: Done, Saw: Version{2, 9}}), false},
		{"a resourceVersion that falls over a deletion", history(created, deleted, Op{Verb: Create, Value: 2, Outcome: Done, Saw: Version{2, 9}}), false},
		{"two at once", history(created, Op{Verb: Patch, Value: 2, Outcome: Done, Saw: Version{2, 11}, Call: 20, Return: 90},
			Op{Verb: Get, Outcome: Done, Saw: Version{1, 10}, Call: 30, Return: 40}), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := linearizable(test.ops); (err == nil) != test.fine {
				t.Errorf("judged %v", err)
			}
		})
	}
}

// What a watch must not do is seen.
func TestWatchesAreJudged(t *testing.T) {
	list := Event{Type: "RELIST", Saw: Version{0, 5}, Objects: map[string]Version{"old": {1, 3}}}
	added := Event{Type: "ADDED", Name: "a", Saw: Version{2, 6}}
	gone := Event{Type: "DELETED", Name: "a", Saw: Version{2, 8}}
	write := Op{Kind: "core", Name: "a", Verb: Create, Value: 2, Outcome: Done, Saw: Version{2, 6}}
	remove := Op{Kind: "core", Name: "a", Verb: Delete, Outcome: Done}
	refused := write
	refused.Outcome = Refused
	for _, test := range []struct {
		name   string
		events []Event
		ops    []Op
		fine   bool
	}{
		{"all shown", []Event{list, added, gone}, []Op{write, remove}, true},
		{"a gap", []Event{list}, []Op{write}, false},
		{"a gap that a list covers", []Event{list, {Type: "RELIST", Saw: Version{0, 7}, Objects: map[string]Version{"a": {2, 6}}}}, []Op{write}, true},
		{"a deletion that is not shown", []Event{list, added}, []Op{write, remove}, false},
		{"the same twice", []Event{list, added, added}, []Op{write}, false},
		{"out of order", []Event{list, {Type: "ADDED", Name: "b", Saw: Version{3, 7}}, added}, []Op{write}, false},
		{"modified before added", []Event{list, {Type: "MODIFIED", Name: "a", Saw: Version{2, 6}}}, []Op{write}, false},
		{"refused and shown", []Event{list, added}, []Op{refused}, false},
		{"one write with two versions", []Event{list, added, {Type: "MODIFIED", Name: "a", Saw: Version{2, 7}}}, []Op{write}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := &watched{watcher: &Watcher{kind: kinds[0], name: "core"}}
			problems, _ := j.round(test.events, test.ops)
			if (len(problems) == 0) != test.fine {
				t.Errorf("judged %q", problems)
			}
		})
	}
}
