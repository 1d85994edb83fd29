package supervisor

import (
	"syscall"
	"time"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// Etcd is the name of the child that is not a tier.
const Etcd = "etcd"

// row is what sets one child apart in starting and stopping.
type row struct {
	// name is the tier's, or Etcd.
	name string
	// after names the child that must be ready before this one is started at
	// all; "" is none. Among the tiers nothing is said here: they are started
	// together, and each waits itself for the stage of its delegate that it needs.
	after string
	// stages are what the child reports; the last but draining is ready.
	stages []tier.Stage
	// stop asks the child to stop, budget is how long that may take.
	stop   syscall.Signal
	budget func(Grace) time.Duration
	// neededAtStart: if the child fails at first, there is no use in going on.
	neededAtStart bool
	// storage: even in a hurry the child is asked to stop, and only after the
	// exit of all others.
	storage bool
}

// rows is the table of all children of this host, where the given tiers run of a chain with the given head. They
// start in this order, and stop in the reverse of it, each after the exit of the one before: clients are lost first,
// storage last. embedded tells whether etcd is a child.
func rows(embedded bool, here []tier.Name, head tier.Name) []row {
	var table []row
	after := ""
	if embedded {
		table, after = append(table, row{
			name:          Etcd,
			stages:        []tier.Stage{tier.Ready},
			stop:          syscall.SIGTERM,
			budget:        func(Grace) time.Duration { return etcdBudget },
			neededAtStart: true,
			storage:       true,
		}), Etcd
	}
	for _, name := range here {
		budget := Grace.inner
		if name == head {
			budget = Grace.head
		}
		table = append(table, row{name: string(name), after: after, stages: tier.Stages, stop: syscall.SIGTERM, budget: budget})
	}
	return table
}

func (r row) lifecycle(g Grace, chance func() float64) lifecycle.Config {
	return lifecycle.Config{
		StopBudget: r.budget(g), Stages: r.stages, StopSignal: r.stop, HopelessCode: process.ExitConfiguration,
		NeededAtStart: r.neededAtStart, Chance: chance,
	}
}
