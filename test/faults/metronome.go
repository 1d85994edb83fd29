package faults

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// beat and stroke are how often a metronome works, and for how much CPU time.
	beat, stroke = 250 * time.Millisecond, 20 * time.Millisecond
	// fairWait is how much longer than that a stroke takes while the processes of a scene
	// have two cores to themselves.
	fairWait = 1.5
	// maxSlowness is from when on how long something takes says nothing of it.
	maxSlowness = 8
)

// metronome works a little again and again, and measures how long it waits for a CPU: so do
// the processes beside it, by no fault of theirs.
type metronome struct {
	stop chan struct{}
	said chan float64
}

func startMetronome() *metronome {
	m := &metronome{stop: make(chan struct{}), said: make(chan float64)}
	go m.run()
	return m
}

func (m *metronome) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	var wall, cpu time.Duration
	for {
		began, before := time.Now(), threadTime()
		for threadTime()-before < stroke {
		}
		wall, cpu = wall+time.Since(began), cpu+threadTime()-before
		select {
		case <-m.stop:
			m.said <- max(1, float64(wall)/float64(cpu)/fairWait)
			return
		case <-tick.C:
		}
	}
}

// end returns by how much slower than one with nothing else to do this machine was, at
// least 1. It is called once.
func (m *metronome) end() float64 {
	close(m.stop)
	return <-m.said
}

// threadTime is the CPU time of this thread.
func threadTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		panic(err) // every Linux has it
	}
	return time.Duration(now.Nano())
}
