package faults

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// With two replicas of a tier the death of one fails no request that may be repeated.
func TestOneOfTwoReplicasKilledUnderLoad(t *testing.T) {
	t.Parallel()
	c := harness.Run(t, harness.Options{Args: []string{"--replicas=core=2,extensions=2"}})
	healthy := func() error {
		s, _, err := c.Status()
		if err == nil && !harness.IsReady(s) {
			err = errors.New(s.String())
		}
		return err
	}
	s := stage(t, &c.API, kinds, healthy, func() string { return "" })
	for range often(1, 50) {
		for _, tier := range []string{"core", "extensions"} {
			s.Play(t, Fault{Name: "kill -9 one of two replicas of " + tier, Budget: 30 * time.Second, ReadsSucceed: true, Break: func(t *testing.T) {
				now, _, err := c.Status()
				if err != nil {
					t.Fatal(err)
				}
				pid := now.Replica(tier).PID
				s.strike()
				crash(t, c, tier)
				harness.Eventually(t, goneBound, "the status knows of it", func() error {
					if now, _, err := c.Status(); err != nil || now.Replica(tier).PID == pid {
						return fmt.Errorf("%v %v", now, err)
					}
					return nil
				})
			}})
		}
	}
}
