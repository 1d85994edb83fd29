package faults

import (
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// budgets are how long after a kill the last request may fail: the pause before
// the restart, and the start.
var budgets = map[string]time.Duration{
	"extensions": 30 * time.Second, "core": 30 * time.Second, "aggregator": 30 * time.Second,
	"etcd": 30 * time.Second, "supervisor": 45 * time.Second,
}

func kills() int {
	if *times > 0 {
		return *times
	}
	if *long {
		return 100
	}
	return 5
}

// often is how many times a fault is played, by default and with -long.
func often(few, many int) int {
	if *rounds > 0 {
		return *rounds
	}
	if *long {
		return many
	}
	return few
}

// Whichever process is killed, and however often, clients lose nothing that they
// were told was done, and all is as before soon after.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	p := openPlane(t, harness.Options{})
	for range kills() {
		// Each once, in any order: a process that dies again and again waits longer and
		// longer, and a new supervisor forgets that.
		for _, i := range p.Chance.Perm(len(processes)) {
			name := processes[i]
			p.Play(t, Fault{Name: "kill -9 " + name, Budget: budgets[name], Break: func(t *testing.T) { p.kill(t, name) }})
		}
		if t.Failed() {
			break // what is broken goes on to be
		}
	}
	p.settled(t)
}
