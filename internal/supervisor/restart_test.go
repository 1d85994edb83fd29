package supervisor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"triptych.dev/triptych/internal/tier"
)

// One that is full is ready for no longer than it takes to look how large it is.
// Nobody needs to see that moment.
func TestARestartOfAFullEtcdReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t).run()
		s.script[Etcd] = func(a *actor) {
			a.sink.Reached(tier.Ready)
			a.sink.Full("8 of 8 MiB")
			a.sink.ReadinessLost()
		}
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := s.chain.Restart(ctx, Etcd); err != nil {
				t.Error(err)
			}
			cancel()
		}
		s.stop()
		s.end()
	})
}
