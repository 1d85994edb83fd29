package process

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheHeapIsCollectedRarelyWhileBusyAndSoonWhileIdle(t *testing.T) {
	const small, large = 30 << 20, 1 << 30
	var set []int
	now := time.Now()
	p := &pacer{
		percent: idlePercent, last: now, set: func(percent int) { set = append(set, percent) },
		free: func() {}, live: func() uint64 { return small },
	}
	for i, c := range []struct {
		after time.Duration
		live  uint64
		want  int
	}{
		{time.Minute, small, 100},
		{100 * time.Millisecond, small, 400},
		{2 * time.Second, small, 400},            // because it is collected rarely now
		{100 * time.Millisecond, 200 << 20, 256}, // no more than 512 MiB
		{100 * time.Millisecond, large, 100},
		{100 * time.Millisecond, small, 400},
		{6 * time.Second, small, 100},
		{time.Second, small, 100},
	} {
		now = now.Add(c.after)
		p.collected(now, c.live, 2*c.live)
		if p.percent != c.want {
			t.Errorf("%d: GOGC is %d, want %d", i, p.percent, c.want)
		}
	}
	if len(set) != 5 {
		t.Errorf("it was set %d times: %v", len(set), set)
	}
}

func TestAHeapThatIsLeftAloneShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		p := &pacer{
			percent: idlePercent, last: time.Now(), set: func(int) {},
			free: func() { freed++ }, live: func() uint64 { return 30 << 20 },
		}
		for range 3 {
			time.Sleep(busyPause / 2)
			p.collected(time.Now(), 30<<20, 60<<20)
		}
		if p.percent != BusyGOGC {
			t.Errorf("GOGC is %d while busy", p.percent)
		}
		time.Sleep(idlePause + time.Millisecond)
		synctest.Wait()
		if p.percent != idlePercent || freed != 1 {
			t.Errorf("GOGC is %d when nothing is collected any more, and memory was given back %d times", p.percent, freed)
		}
	})
}

// What a burst has left is given back although it was too slow to be taken for one, and once.
func TestWhatABurstHasLeftIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const small, large = 30 << 20, 100 << 20
		freed, live := 0, uint64(small)
		p := &pacer{
			percent: idlePercent, last: time.Now(), set: func(int) {}, base: small,
			free: func() { freed++ }, live: func() uint64 { return live },
		}
		for _, c := range []struct {
			during, after uint64 // what lives
			freed         int
		}{
			{small, small, 0}, {large, small, 1}, {large, large, 2}, {large, large, 2}, {small, small, 2},
		} {
			for range 3 {
				time.Sleep(2 * busyPause)
				p.collected(time.Now(), c.during, 2*c.during)
			}
			live = c.after
			time.Sleep(idlePause + time.Millisecond)
			synctest.Wait()
			if freed != c.freed || p.percent != idlePercent {
				t.Errorf("%+v: memory was given back %d times, GOGC is %d", c, freed, p.percent)
			}
		}
	})
}

// What goes on behind a burst, and is collected again and again, does not keep what that has taken.
func TestWhatIsHeldInVainIsGivenBackMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const live = 30 << 20
		freed, held := 0, uint64(180<<20)
		p := &pacer{
			percent: idlePercent, last: time.Now(), set: func(int) {}, base: live,
			free: func() { freed++; held = 2 * live }, live: func() uint64 { return live },
		}
		for range 20 {
			time.Sleep(2 * busyPause)
			p.collected(time.Now(), live, held)
		}
		if freed != 1 {
			t.Errorf("memory was given back %d times", freed)
		}
	})
}

func TestEveryCollectionIsNoticed(t *testing.T) {
	seen := make(chan int, 10)
	p := &pacer{percent: idlePercent, last: time.Now(), set: func(percent int) { seen <- percent }, live: liveHeap}
	p.afterNext()
	deadline := time.After(30 * time.Second)
	for {
		runtime.GC()
		select {
		case <-seen:
			if liveHeap() == 0 {
				t.Error("nothing lives")
			}
			return
		case <-deadline:
			t.Fatal("no collection was noticed")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
