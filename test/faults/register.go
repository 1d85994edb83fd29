package faults

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// register is what one object may be: absent, or the version that one write made.
// A write whose answer is unknown leaves a version without resourceVersion, which
// the next read names. floor is the highest resourceVersion seen so far: a later
// version has a higher one, over deletions too.
type register struct {
	there   bool
	current Version
	floor   uint64
}

// step tells whether op may have come out as it did if it happened in this state,
// and what it left. An Op of unknown outcome that finds no state to act on did
// nothing, which it always may.
func (r register) step(op Op) (bool, register) {
	if op.Outcome == Absent {
		return !r.there, r
	}
	switch op.Verb {
	case Get:
		return r.read(op.Saw)
	case Delete:
		gone := register{floor: r.floor}
		if op.Outcome == Done {
			return r.there, gone
		}
		return true, gone
	case Create:
		if op.Outcome == Exists {
			return r.there, r
		}
		return r.write(op, !r.there)
	case Update:
		fits := r.there && r.current.Value == op.Base
		if op.Outcome == Conflict {
			return !fits, r
		}
		return r.write(op, fits)
	default: // a patch retries conflicts itself, and may give up
		if op.Outcome == Conflict {
			return true, r
		}
		return r.write(op, r.there)
	}
}

func (r register) read(saw Version) (bool, register) {
	switch {
	case !r.there || saw.Value != r.current.Value:
		return false, r
	case r.current.RV == 0:
		return saw.RV > r.floor, register{there: true, current: saw, floor: saw.RV}
	default:
		return saw.RV == r.current.RV, r
	}
}

// write is one that succeeds exactly if it fits.
func (r register) write(op Op, fits bool) (bool, register) {
	if op.Outcome == Unknown {
		if !fits {
			return true, r
		}
		return true, register{there: true, current: Version{Value: op.Value}, floor: r.floor}
	}
	if !fits || op.Saw.Value != op.Value || op.Saw.RV <= r.floor {
		return false, r
	}
	return true, register{there: true, current: op.Saw, floor: op.Saw.RV}
}

var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		ok, next := state.(register).step(input.(Op))
		return ok, next
	},
	DescribeOperation: func(input, _ any) string {
		op := input.(Op)
		return fmt.Sprintf("%s %d %s %v", op.Verb, op.Value, op.Outcome, op.Saw)
	},
}

// checkBound is how long one object's history may be looked at.
const checkBound = 30 * time.Second

// linearizable returns an error unless the history of one object is that of a
// register.
func linearizable(history []Op) error {
	var operations []porcupine.Operation
	for _, op := range history {
		unknown := op.Outcome == Unknown
		if op.Outcome == Refused || unknown && op.Verb == Get {
			continue
		}
		o := porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: op.Return}
		if unknown {
			// It may take effect at any time from now on, or never: that is, last.
			o.Return = math.MaxInt64
		}
		operations = append(operations, o)
	}
	switch porcupine.CheckOperationsTimeout(model, operations, checkBound) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("undecided after %v: %d operations", checkBound, len(operations))
	default:
		return fmt.Errorf("no order of its %d operations explains their answers", len(operations))
	}
}
