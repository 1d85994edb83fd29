package lifecycle

import (
	"fmt"
	"syscall"
	"time"
)

// Exit is how a process ended.
type Exit struct {
	// Code is the exit status, or -1 when a signal ended the process or none
	// was ever started.
	Code int
	// Signal is what ended the process, or zero.
	Signal syscall.Signal
	// Time is when the exit was seen.
	Time time.Time
	// Reason is the process' last word, or what was done to it and why. It may
	// be empty.
	Reason string
	// Hopeless: starting another process as things are cannot help.
	Hopeless bool
}

// String tells the exit in a few words: "exit code 1: no such file".
func (e Exit) String() string {
	s := fmt.Sprintf("exit code %d", e.Code)
	switch {
	case e.Signal != 0:
		s = "signal " + signalName(e.Signal)
	case e.Code < 0:
		s = "not started"
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}
