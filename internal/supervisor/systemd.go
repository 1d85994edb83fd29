package supervisor

import (
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/oklog/run"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// systemd tells the service manager that started us how we are. Nothing happens where no
// NOTIFY_SOCKET is set; errors are systemd's to notice.
type systemd struct {
	mu sync.Mutex
	// ready and stopping have been told: nobody is ready before the head or during a stop,
	// whatever else begins and ends then.
	ready, stopping bool
}

// Ready says that the API is served, and where.
func (s *systemd) Ready(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = true
	notify(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

// Phase says what `systemctl status` shows.
func (s *systemd) Phase(phase lifecycle.Phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := "STATUS=" + string(phase)
	if phase == lifecycle.PhaseStopping {
		s.stopping = true
		state = daemon.SdNotifyStopping + "\n" + state
	}
	notify(state)
}

// Reloading says that processes are being replaced; done, that they were.
func (s *systemd) Reloading() (done func()) {
	s.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	return func() { s.tell(daemon.SdNotifyReady) }
}

func (s *systemd) tell(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready && !s.stopping {
		notify(state)
	}
}

func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// watchdog calls ping twice in every interval, to the end of the chain, as long as the
// chain's goroutine answers: one that does not leads nothing any more, and is better
// started anew.
func (c *chain) watchdog(interval time.Duration, ping func()) {
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if c.ask(func() error { return nil }) != nil {
			return
		}
		ping()
		select {
		case <-tick.C:
		case <-c.done:
			return
		}
	}
}

// addWatchdog adds what WATCHDOG_USEC asks for, if it is there.
func (v *Supervisor) addWatchdog(g *run.Group) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err == nil && interval > 0 {
		g.Add(func() error {
			v.chain.watchdog(interval, func() { notify(daemon.SdNotifyWatchdog) })
			return nil
		}, func(error) {})
	}
	return err
}
