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
	row row
	// replica is its name, such as "core-0" or "etcd".
	replica string
	// newcomer: it came while others were at work. Until it has been ready once,
	// the others are none the worse without it.
	newcomer bool
	// retiring: it stops for good and is then forgotten.
	retiring bool

	// release is what its processes are started of, whatever is upgraded meanwhile.
	release release

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
func (m *member) name() string { return m.replica }

// counts tells whether the phase of the whole depends on the member.
func (m *member) counts() bool {
	return !m.retiring && (!m.newcomer || m.machine.View().EverReady)
}

func (m *member) disarm() {
	m.alarm++
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
}
