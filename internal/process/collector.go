package process

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// BusyGOGC is GOGC while garbage is made fast: the heap may grow to five times
	// of what lives in it before it is collected.
	BusyGOGC = 400
	// idlePercent is Go's own, while little garbage is made: what a burst has taken is
	// given back.
	idlePercent = 100
	// busyPause and idlePause are the times between two collections that tell the one
	// from the other.
	busyPause, idlePause = 500 * time.Millisecond, 5 * time.Second
	// spare bounds what a heap may grow by on account of BusyGOGC. A large heap is
	// collected rarely anyway.
	spare = 512 << 20
	// left is how much more than at the last rest may live in a heap, and be held beyond
	// what it needs, that is not given back: the pages would have to be touched anew.
	left = 32 << 20
)

// PaceCollector makes garbage collection cost less while the process is busy, and
// take no memory for it while it is not: a heap of 30 MiB, such as the head's, would be
// collected ten times a second under load. A GOGC of the user's is left alone, and so is
// GOMEMLIMIT, which counts in any case.
func PaceCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	p := &pacer{
		percent: idlePercent, last: time.Now(),
		set: func(percent int) { debug.SetGCPercent(percent) }, free: debug.FreeOSMemory,
		live: liveHeap,
	}
	debug.SetGCPercent(idlePercent)
	p.afterNext()
}

// pacer sets GOGC after each collection by how long ago the one before was, and when
// there was none for long.
type pacer struct {
	mu      sync.Mutex
	percent int
	last    time.Time
	base    uint64      // what lived at the last rest
	quiet   *time.Timer // nil while there is nothing to give back
	set     func(percent int)
	free    func() // collects, and gives what is free to the machine
	live    func() uint64
}

// sentinel is garbage at once: that it is collected tells of a collection.
type sentinel struct{ _ [16]byte }

func (p *pacer) afterNext() {
	runtime.AddCleanup(&sentinel{}, func(p *pacer) {
		p.collected(time.Now(), p.live(), read("/memory/classes/total:bytes")-read("/memory/classes/heap/released:bytes"))
		p.afterNext()
	}, p)
}

// collected takes note of a collection that left live bytes alive, of held that the process has.
func (p *pacer) collected(now time.Time, live, held uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := now.Sub(p.last)
	p.last = now
	percent := p.percent
	switch {
	case pause > idlePause:
		percent = idlePercent
	case pause < busyPause:
		percent = BusyGOGC
	}
	if percent != idlePercent && live > 0 {
		percent = int(min(uint64(percent), max(idlePercent, spare*100/live)))
	}
	p.change(percent)
	// A heap is next collected when it has doubled, and garbage of a burst that is over
	// would stay for minutes.
	burst := percent != idlePercent || live > p.base+left
	inVain := percent == idlePercent && held > 2*live+left
	if inVain && p.quiet != nil {
		return // what goes on behind a burst may do so for long, and must not put it off
	}
	p.stay()
	if burst || inVain {
		p.quiet = time.AfterFunc(idlePause, p.rest)
	}
}

// stay has nothing given back. Like change it is for who holds the lock.
func (p *pacer) stay() {
	if p.quiet != nil {
		p.quiet.Stop()
		p.quiet = nil
	}
}

func (p *pacer) change(percent int) {
	if percent != p.percent {
		p.percent = percent
		p.set(percent)
	}
}

// rest is called in a while behind a burst: the machine gets back at once what that has
// taken, and not over minutes.
func (p *pacer) rest() {
	p.mu.Lock()
	p.stay()
	p.change(idlePercent)
	p.mu.Unlock()
	p.free()
	live := p.live()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.base = live
}

// liveHeap is what the last collection found in use.
func liveHeap() uint64 { return read("/gc/heap/live:bytes") }

// read returns one of runtime/metrics.
func read(metric string) uint64 {
	sample := []metrics.Sample{{Name: metric}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
