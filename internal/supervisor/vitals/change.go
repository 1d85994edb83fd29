package vitals

import (
	"math"
	"time"

	"triptych.dev/triptych/internal/control"
)

// change is what a process, or several, did between two readings, and how it stands at the second. Rates are per second.
// The flags tell what of it is known.
type change struct {
	counted, gauged, used, sized bool

	requests, errors, rejected, forwarded, forwardedErrors float64           // counted
	latency, forwardLatency, transit, storage              control.Histogram // counted
	inFlight, watches                                      int64             // gauged
	cpu                                                    float64           // used; CPUs
	memory                                                 int64             // sized; bytes
}

// changeOf compares two readings of one process. before is nil where there is none; a process that was started after that
// began at zero then.
func changeOf(now control.ProcessMetrics, before *control.ProcessMetrics) change {
	c := change{memory: now.MemoryBytes, sized: now.MemoryBytes > 0}
	if now.Counters != nil {
		c.inFlight, c.watches, c.gauged = int64(now.Counters.InFlight), int64(now.Counters.Watches), true
	}
	if before == nil {
		return c
	}
	seconds := now.Time.Sub(before.Time).Seconds()
	if seconds <= 0 { // the clock was set back
		return c
	}
	c.cpu, c.used = increase(now.CPUSeconds, before.CPUSeconds)/seconds, c.sized
	if is, was := now.Counters, before.Counters; is != nil && was != nil {
		c.counted = true
		c.requests = increase(is.Requests, was.Requests) / seconds
		c.errors = increase(is.Errors, was.Errors) / seconds
		c.rejected = increase(is.Rejected, was.Rejected) / seconds
		c.forwarded = increase(is.Forwarded, was.Forwarded) / seconds
		c.forwardedErrors = increase(is.ForwardedErrors, was.ForwardedErrors) / seconds
		c.latency = since(is.Latency, was.Latency)
		c.forwardLatency = since(is.ForwardLatency, was.ForwardLatency)
		c.transit = since(is.Transit, was.Transit)
		c.storage = since(is.StorageLatency, was.StorageLatency)
	}
	return c
}

// unborn is the reading of a process at its start.
func unborn(started time.Time) *control.ProcessMetrics {
	return &control.ProcessMetrics{Time: started, Counters: &control.Counters{}}
}

// add makes c the sum of both, of what is known of either.
func (c *change) add(other change) {
	c.counted, c.gauged = c.counted || other.counted, c.gauged || other.gauged
	c.used, c.sized = c.used || other.used, c.sized || other.sized
	c.requests += other.requests
	c.errors += other.errors
	c.rejected += other.rejected
	c.forwarded += other.forwarded
	c.forwardedErrors += other.forwardedErrors
	add(&c.latency, other.latency)
	add(&c.forwardLatency, other.forwardLatency)
	add(&c.transit, other.transit)
	add(&c.storage, other.storage)
	c.inFlight += other.inFlight
	c.watches += other.watches
	c.cpu += other.cpu
	c.memory += other.memory
}

func (c change) load() Load {
	return Load{
		RequestsPerSecond: known(c.requests, c.counted), ErrorsPerSecond: known(c.errors, c.counted),
		RejectedPerSecond: known(c.rejected, c.counted),
		LatencyP50Seconds: known(quantile(0.5, c.latency)), LatencyP99Seconds: known(quantile(0.99, c.latency)),
		InFlight: known(c.inFlight, c.gauged), Watches: known(c.watches, c.gauged),
		ForwardedPerSecond: known(c.forwarded, c.counted), ForwardedErrorsPerSecond: known(c.forwardedErrors, c.counted),
		ForwardP99Seconds: known(quantile(0.99, c.forwardLatency)), HopP99Seconds: known(quantile(0.99, c.transit)),
		StorageP99Seconds: known(quantile(0.99, c.storage)),
		CPUPercent:        known(100*c.cpu, c.used), MemoryBytes: known(c.memory, c.sized),
	}
}

// known is where a number is, if it is one that JSON can say.
func known[T int64 | float64](n T, is bool) *T {
	if f := float64(n); !is || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &n
}
