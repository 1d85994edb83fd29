package logline

import (
	"strings"
	"time"
)

// Line is a line of a log with what is known about it.
type Line struct {
	// Time is when it was written; the zero time if neither it nor a line before says so.
	Time time.Time `json:"time,omitzero"`
	// Tier is whose log it is in: a tier, etcd or supervisor.
	Tier string `json:"tier"`
	// Replica is who wrote it, if that is known.
	Replica string `json:"replica,omitempty"`
	Line    string `json:"line"`
}

// Labeler adds to the lines of one log, in their order, when and by whom each was written. It is not for
// concurrent use.
type Labeler struct {
	last     Line // what a line that says nothing of itself goes with
	replicas map[int]string
}

// NewLabeler returns a Labeler of the log of a tier. replicas names processes by their numbers.
func NewLabeler(tier string, replicas map[int]string) *Labeler {
	return &Labeler{last: Line{Tier: tier}, replicas: replicas}
}

// Label labels the next line, which is without its end.
func (l *Labeler) Label(text string, now time.Time) Line {
	if stamp, ok := Read(text, now); ok {
		l.last.Time, l.last.Replica = stamp.Time, stamp.Replica
		if l.last.Replica == "" {
			l.last.Replica = l.replicas[stamp.PID]
		}
		if l.last.Replica != l.last.Tier && !strings.HasPrefix(l.last.Replica, l.last.Tier+"-") {
			l.last.Replica = "" // a number that was used again
		}
	}
	line := l.last
	line.Line = text
	return line
}
