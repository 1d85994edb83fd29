package tier

import "slices"

// Stage is how far a process has come. A process reports each stage it has
// reached as a service of that name in grpc.health.v1.Health, where SERVING
// means reached. Stages are reached in the order of Stages and, but for Ready,
// never left.
type Stage string

const (
	// Configured: options are valid, clients and informers exist.
	Configured Stage = "configured"
	// Constructed: the server and its handlers exist.
	Constructed Stage = "constructed"
	// Prepared: handlers are installed, the listener accepts, and the group
	// versions served are known. Delegation to the process may begin.
	Prepared Stage = "prepared"
	// Ready: the process' own /readyz passes. It may be lost and regained.
	Ready Stage = "ready"
	// Draining: the process was told to stop and finishes what is in flight.
	Draining Stage = "draining"
)

// Stages lists every stage in the order in which a process passes them.
var Stages = []Stage{Configured, Constructed, Prepared, Ready, Draining}

// AtLeast tells whether s is at or beyond other in Stages. The empty stage is
// before all of them.
func (s Stage) AtLeast(other Stage) bool {
	return slices.Index(Stages, s) >= slices.Index(Stages, other)
}
