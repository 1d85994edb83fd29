package faults

import (
	"fmt"
	"slices"
	"time"
)

// Round is what came of one fault.
type Round struct {
	// Server is ours or stock.
	Server string `json:"server"`
	Fault  string `json:"fault"`
	// Rate is how many requests a second were answered before the fault, Void why the
	// round says nothing, empty if it does.
	Rate float64 `json:"rate"`
	Void string  `json:"void,omitempty"`
	// Failed counts requests by the kind of failure.
	Failed   map[string]int `json:"failed"`
	Requests int            `json:"requests"`
	// Slowness is how much slower the machine was meanwhile than one with nothing else to
	// do; budgets grow with it.
	Slowness float64 `json:"slowness"`
	// Recovery is how long after the fault the last request failed.
	Recovery time.Duration `json:"recovery"`
	Budget   time.Duration `json:"budget"`
	// Lost counts acknowledged writes that are gone.
	Lost int `json:"lost"`
	// Gaps counts what is wrong with watches, Relists how often one was told 410.
	Gaps    int `json:"gaps"`
	Relists int `json:"relists"`
	// Problems are everything that must not be, each a line.
	Problems []string `json:"problems,omitempty"`
}

func (r *Round) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// judgeOps looks at the requests of a round. since is when the fault began.
func (r *Round) judgeOps(ops []Op, since int64) {
	if r.Failed == nil {
		r.Failed = map[string]int{}
	}
	histories := map[string][]Op{}
	for _, op := range ops {
		r.Requests++
		if op.Failure != "" {
			r.Failed[op.Failure]++
			r.Recovery = max(r.Recovery, time.Duration(op.Return-since))
		}
		if op.Failure == failedNotFound || op.Failure == failedDenied {
			r.problem("%s of %s %s: %s: %s", op.Verb, op.Kind, op.Name, op.Failure, op.Said)
		}
		if op.Name != sentinel && op.Name != "discovery" {
			histories[op.Kind+" "+op.Name] = append(histories[op.Kind+" "+op.Name], op)
		}
	}
	for _, key := range sorted(histories) {
		if err := linearizable(histories[key]); err != nil {
			r.problem("%s: %v", key, err)
		}
		if lost := lostWrite(histories[key]); lost != "" {
			r.Lost++
			r.problem("%s: %s", key, lost)
		}
	}
	switch {
	case r.Recovery <= r.Budget:
	case r.Slowness > maxSlowness:
		r.Void = fmt.Sprintf("it recovered after %v on a machine that is %.0f times slower for what else it does", r.Recovery.Round(time.Second), r.Slowness)
	default:
		r.problem("recovered after %v, the budget is %v", r.Recovery.Round(time.Millisecond), r.Budget)
	}
}

// judgeReads holds against the round what failed since the time since though it changes
// nothing.
func (r *Round) judgeReads(ops []Op, since int64) {
	for _, op := range ops {
		if op.Verb == Get && op.Failure != "" && op.Return > since {
			r.problem("%s of %s %s failed: %s: %s", op.Verb, op.Kind, op.Name, op.Failure, op.Said)
		}
	}
}

// lostWrite tells whether the newest acknowledged write of one object is missing
// from the last read, though nothing can have replaced it. It says less than
// linearizable does, and says it plainly.
func lostWrite(history []Op) string {
	var newest, final Op
	for _, op := range history {
		if op.Outcome == Done && op.Value != 0 && op.Saw.RV > newest.Saw.RV {
			newest = op
		}
		if op.Verb == Get && (op.Outcome == Done || op.Outcome == Absent) && op.Call > final.Call {
			final = op
		}
	}
	if newest.Value == 0 || final.Call < newest.Return || final.Outcome == Done && final.Saw.RV >= newest.Saw.RV {
		return ""
	}
	mayBeDeleted := slices.ContainsFunc(history, func(op Op) bool {
		return op.Verb == Delete && (op.Outcome == Done || op.Outcome == Unknown) && (op.Outcome == Unknown || op.Return > newest.Call)
	})
	if final.Outcome == Absent && mayBeDeleted {
		return ""
	}
	return fmt.Sprintf("the acknowledged %s at %d is lost: the last read says %s %d", newest.Verb, newest.Saw.RV, final.Outcome, final.Saw.RV)
}

// judgeWatches looks at the events of a round.
func (r *Round) judgeWatches(all []*watched, record *Record, ops []Op) {
	for _, j := range all {
		problems, relists := j.round(record.eventsOf(j.watcher), ops)
		r.Gaps += len(problems)
		r.Relists += relists
		r.Problems = append(r.Problems, problems...)
		for failure, n := range j.watcher.failed() {
			if failure == failedNotFound || failure == failedDenied {
				r.problem("the watcher of %s was answered %s %d times", j.watcher.name, failure, n)
			}
		}
	}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
