package lifecycle

import (
	"syscall"
	"time"
)

// Action is what the owner of a Machine has to do, in the order given.
type Action interface{ action() }

// Launch starts a process. Its outcome is Spawned, or Exited if it could not
// be started.
type Launch struct{}

// Signal sends Signal to the process. SIGKILL is meant for all it started too.
type Signal struct{ Signal syscall.Signal }

// Arm sets the one timer of the machine, in place of what it was set to;
// Elapsed is its event.
type Arm struct{ After time.Duration }

// Disarm stops the timer. An Elapsed that is under way must be dropped.
type Disarm struct{}

// Changed says that the state changed and why; the why may be empty.
type Changed struct {
	From, To State
	Why      string
}

// Stage says that the process reached Name, so long after it was launched.
type Stage struct {
	Name  string
	After time.Duration
}

func (Launch) action()  {}
func (Signal) action()  {}
func (Arm) action()     {}
func (Disarm) action()  {}
func (Changed) action() {}
func (Stage) action()   {}
