package hop

import (
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// docs/reference/metrics.md says which of these answers which question.
var (
	requestDuration = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "request_duration_seconds",
		Help:           "Time from taking a request for another tier to the first byte of its answer, or to giving up, by how that ended.",
		Buckets:        []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		StabilityLevel: metrics.ALPHA,
	}, []string{"delegate", "outcome"})
	transitDuration = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "transit_duration_seconds",
		Help:           "Time from the receipt of a request by the tier that delegates to its arrival here: what the hop itself costs on the way in.",
		Buckets:        []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5},
		StabilityLevel: metrics.ALPHA,
	}, []string{"from"})
	retries = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "retries_total",
		Help:           "Number of requests that were sent a second time, because the first connection was lost and nothing could happen twice.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"delegate"})
	failures = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "errors_total",
		Help:           "Number of requests that the delegate did not answer, or not to the end. Clients that went away are not counted.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"delegate", "reason"})
	inFlight = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "requests_in_flight",
		Help:           "Number of requests that are being forwarded, watches and upgraded connections among them.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"delegate"})
	trunkWatches = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "trunk_watches",
		Help:           "Number of forwarded watches whose events come on a connection that they share.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"delegate"})
	connections = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "connections",
		Help:           "Number of open connections to the delegate, busy with one request each or as the trunk of watches, or idle.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"delegate", "state"})
)

const namespace, subsystem = "triptych", "hop"

// register comes after the feature gates that decide what a histogram is.
var register = sync.OnceFunc(func() {
	legacyregistry.MustRegister(requestDuration, transitDuration, retries, failures, inFlight, trunkWatches, connections)
})

// reason is why a request was not answered, or not to the end.
type reason int

const (
	away    reason = iota // the delegate said, or its silence, that it cannot be called
	connect               // no connection could be made
	lost                  // the connection ended before an answer began
	cut                   // the connection ended in an answer
	timeout               // the answer took too long
	reasons
)

var reasonNames = [reasons]string{"away", "connect", "lost", "cut", "timeout"}

// Outcomes of the duration on top of those of a failure.
const (
	answered outcome = ended + 1 + iota
	invalid          // to us: the request cannot be sent
	gone             // the client is
	outcomes
)

var outcomeNames = [outcomes]string{
	broken: "broken", unavailable: "unavailable", replayed: "replayed", expired: "expired", ended: "ended",
	answered: "answered", invalid: "invalid", gone: "gone",
}

// meter holds the metrics of one delegate, looked up once.
type meter struct {
	durations  [outcomes]metrics.ObserverMetric
	failures   [reasons]metrics.CounterMetric
	retries    metrics.CounterMetric
	inFlight   metrics.GaugeMetric
	onTrunk    metrics.GaugeMetric
	idle, busy metrics.GaugeMetric
}

func newMeter(delegate tier.Name) *meter {
	register()
	name := string(delegate)
	m := &meter{
		retries: retries.WithLabelValues(name), inFlight: inFlight.WithLabelValues(name), onTrunk: trunkWatches.WithLabelValues(name),
		idle: connections.WithLabelValues(name, "idle"), busy: connections.WithLabelValues(name, "busy"),
	}
	for o, outcome := range outcomeNames {
		m.durations[o] = requestDuration.WithLabelValues(name, outcome)
	}
	for r, reason := range reasonNames {
		m.failures[r] = failures.WithLabelValues(name, reason)
	}
	return m
}

// Arrived measures the way of a delegated request to this process.
func Arrived(from identity.Peer, received time.Time) {
	if !received.IsZero() {
		// Clocks of two machines may disagree.
		transitDuration.WithLabelValues(string(from.Name)).Observe(max(time.Since(received), 0).Seconds())
	}
}
