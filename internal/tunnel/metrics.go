package tunnel

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const namespace, subsystem = "triptych", "ssh"

// docs/reference/metrics.md says which of these answers which question.
var (
	states = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "tunnels",
		Help:           "Number of SSH tunnels to nodes, by state.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"state"})
	dialDuration = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "dial_duration_seconds",
		Help:           "Time that dials through a tunnel took which succeeded, waiting for the tunnel included.",
		Buckets:        []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
		StabilityLevel: metrics.ALPHA,
	})
	dialErrors = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "dial_errors_total",
		Help:           "Number of dials through a tunnel that failed, by reason.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})
)

// Reasons of dialErrors.
const (
	reasonNoTunnel = "no_tunnel" // none was up to dial through
	reasonRefused  = "refused"   // the node could not connect to the address
	reasonTimeout  = "timeout"   // the node did not say within the time
	reasonLost     = "lost"      // the tunnel was, or it did not answer any more
)

// register comes after the feature gates that decide what a histogram is, and only
// where there are tunnels.
func (k *Keeper) register() {
	registerOnce.Do(func() {
		legacyregistry.MustRegister(states, dialDuration, dialErrors)
		for _, state := range []State{Connecting, Up, Down} {
			states.WithLabelValues(string(state)).Add(0)
		}
		for _, reason := range []string{reasonNoTunnel, reasonRefused, reasonTimeout, reasonLost} {
			dialErrors.WithLabelValues(reason).Add(0)
		}
		legacyregistry.RawMustRegister(metrics.NewGaugeFunc(&metrics.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "sync_age_seconds",
			Help:           "Time since the tunnels were last made to agree with the nodes.",
			StabilityLevel: metrics.ALPHA,
		}, func() float64 { return k.SyncAge().Seconds() }))
	})
}

var registerOnce sync.Once
