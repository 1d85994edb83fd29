package supervisor

import (
	"context"
	"time"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// member is one child in the chain: its machine, and the process, timer and
// observer that the machine's actions are carried out with. The chain's
// goroutine owns it.
type member struct {
	row     row
	machine *lifecycle.Machine
	launch  launch
	observe watcher

	process running
	// life numbers the processes: news of one that is gone is dropped.
	life  int
	watch context.CancelFunc
	// alarm numbers the settings of the timer: one that went off while it was
	// being stopped is dropped.
	alarm       int
	timer       *time.Timer
	description *handshakev1.DescribeResponse
	// full is how large the database is that takes no more writes, or empty.
	full string
}

// name is what lines and reports call the member.
func (m *member) name() string { return m.row.replica() }

func (m *member) disarm() {
	m.alarm++
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
}
