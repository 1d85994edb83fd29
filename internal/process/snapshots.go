package process

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"triptych.dev/triptych/internal/wiring"
)

// The supervisor has no listener for scrapes, so a head tells of its snapshots.
var (
	snapshotSuccess = metrics.NewGauge(&metrics.GaugeOpts{
		Name: "triptych_snapshot_last_success_timestamp_seconds", StabilityLevel: metrics.ALPHA,
		Help: "When the newest snapshot by schedule was taken, in seconds since 1970; 0 if there is none.",
	})
	snapshotFailed = metrics.NewGauge(&metrics.GaugeOpts{
		Name: "triptych_snapshot_failed", StabilityLevel: metrics.ALPHA,
		Help: "1 if the last attempt of a snapshot by schedule failed, else 0.",
	})
	snapshotFailures = metrics.NewGauge(&metrics.GaugeOpts{
		Name: "triptych_snapshot_failures", StabilityLevel: metrics.ALPHA,
		Help: "Attempts of snapshots by schedule that failed since the supervisor was started.",
	})
	registerSnapshots = sync.OnceFunc(func() { legacyregistry.MustRegister(snapshotSuccess, snapshotFailed, snapshotFailures) })
)

// tellSnapshots has the metrics say how the schedule stands; nil is none, which has no metrics.
func tellSnapshots(s *wiring.Snapshots) {
	if s == nil {
		return
	}
	registerSnapshots()
	snapshotSuccess.Set(float64(s.LastSuccess))
	snapshotFailures.Set(float64(s.Failures))
	failed := 0.0
	if s.Failed {
		failed = 1
	}
	snapshotFailed.Set(failed)
}
