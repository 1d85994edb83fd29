package lifecycle

import "time"

const (
	// firstBackoff is short: most crashes are not repeated.
	firstBackoff = 500 * time.Millisecond
	// maxBackoff keeps a crash loop from costing more than a start-up each
	// half minute, and a repaired one from waiting longer than that.
	maxBackoff = 30 * time.Second
	// healthyFor is how long a process must have been ready to be forgiven the
	// crashes before.
	healthyFor = 30 * time.Second
	// jitter is the share of a delay that is left to chance, so that children
	// that died together do not start together for ever.
	jitter = 0.2
)

// backoff returns the delay before the start that follows crash number n,
// counted from 1. chance is in [0, 1).
func backoff(n int, chance float64) time.Duration {
	d := firstBackoff
	for ; n > 1 && d < maxBackoff; n-- {
		d *= 2
	}
	d = min(d, maxBackoff)
	return d + time.Duration(chance*jitter*float64(d))
}
