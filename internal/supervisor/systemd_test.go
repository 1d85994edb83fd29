package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

// Who leads nothing any more is not alive, however busy its other goroutines are.
func TestTheWatchdogIsFedAsLongAsTheChainTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, pings := newStage(t).run(), 0
		ended := make(chan struct{})
		go func() {
			s.chain.watchdog(10*time.Second, func() { pings++ })
			close(ended)
		}()
		want := func(n int) {
			t.Helper()
			if synctest.Wait(); pings != n {
				t.Errorf("%d pings, want %d", pings, n)
			}
		}
		s.pass(20*time.Second + time.Millisecond)
		want(5)
		release := make(chan struct{})
		go s.chain.post(func() { <-release })
		s.pass(time.Minute)
		want(5)
		close(release)
		want(7) // the one that was due, and a tick that waited
		s.pass(5 * time.Second)
		want(8)
		s.stop()
		s.end()
		<-ended
	})
}
