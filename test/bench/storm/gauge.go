package main

import (
	"context"
	"sync"
	"time"
)

// sampling is how often memory is read: a peak that is shorter is missed.
const sampling = 250 * time.Millisecond

// usage is what one process used.
type usage struct {
	// before, peak and after are resident memory in bytes.
	before, peak, after int64
	// cpu is in seconds, from the beginning of the storm.
	cpu float64
}

// gauge watches the processes of a side, and kills them when they pass the ceiling.
type gauge struct {
	server  *server
	ceiling int64
	// passed is closed when the ceiling was passed.
	passed chan struct{}

	mu        sync.Mutex
	processes map[string]*usage
	started   map[string]float64
}

// startGauge watches until ctx ends. What processes have used before does not count.
func startGauge(ctx context.Context, s *server, ceiling int64) *gauge {
	g := &gauge{server: s, ceiling: ceiling, passed: make(chan struct{}), processes: map[string]*usage{}, started: map[string]float64{}}
	for name, pid := range s.processes() {
		g.processes[name] = &usage{before: resident(pid)}
		g.started[name] = cpu(pid)
	}
	go g.run(ctx)
	return g
}

func (g *gauge) run(ctx context.Context) {
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	// Asking for the processes costs; a new one is seen a few seconds late.
	pids := g.server.processes()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n%20 == 0 {
			pids = g.server.processes()
		}
		if g.sample(pids) > g.ceiling {
			g.server.kill()
			close(g.passed)
			return
		}
	}
}

// sample returns the sum.
func (g *gauge) sample(pids map[string]int) (sum int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, pid := range pids {
		now := resident(pid)
		sum += now
		if u := g.processes[name]; u != nil {
			u.peak, u.after = max(u.peak, now), now
		}
	}
	return sum
}

// used returns what each process used until now, and of those that were killed how large they were.
func (g *gauge) used() map[string]usage {
	all, pids := map[string]usage{}, g.server.processes()
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, u := range g.processes {
		now := *u
		if pid := pids[name]; resident(pid) > 0 {
			now.after, now.cpu = resident(pid), cpu(pid)-g.started[name]
		}
		all[name] = now
	}
	return all
}

// load is how many seconds of CPU all processes used so far.
func (g *gauge) load() (sum float64) {
	for _, u := range g.used() {
		sum += u.cpu
	}
	return sum
}
