package lifecycle

// State is where the life of a child stands.
type State string

const (
	// Idle: never started.
	Idle State = "idle"
	// Starting: a process was asked for and has not been ready yet.
	Starting State = "starting"
	// Ready: the process says that it is ready.
	Ready State = "ready"
	// Unready: the process was ready and lost it; it lives.
	Unready State = "unready"
	// Backoff: the process is gone, the next waits for its time.
	Backoff State = "backoff"
	// Stopping: the process was asked to stop and its budget runs.
	Stopping State = "stopping"
	// Killing: the process was sent SIGKILL and has not exited yet.
	Killing State = "killing"
	// Stopped: the process is gone and none will follow.
	Stopped State = "stopped"
	// Held: an operator has stopped it, and it waits until one starts it again.
	Held State = "stopped by operator"
	// Failed: the process is gone and starting another cannot help.
	Failed State = "failed"
)

// Alive tells whether a process exists, or is just being made.
func (s State) Alive() bool {
	switch s {
	case Starting, Ready, Unready, Stopping, Killing:
		return true
	}
	return false
}

// Over tells whether s is final.
func (s State) Over() bool { return s == Stopped || s == Failed }

// goal is what follows the exit of a process that was made to exit.
type goal int

const (
	again   goal = iota // start another after a backoff
	restart             // start another at once
	stay                // remain stopped
	hold                // remain stopped until it is resumed
	fail                // remain failed
)
