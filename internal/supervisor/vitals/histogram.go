package vitals

import (
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"

	"triptych.dev/triptych/internal/control"
)

// histogram reads the buckets of m. The last bucket has no bound and is Count.
func histogram(m *dto.Metric) control.Histogram {
	from := m.GetHistogram()
	h := control.Histogram{Count: from.GetSampleCount()}
	for _, b := range from.GetBucket() {
		if !math.IsInf(b.GetUpperBound(), 1) {
			h.Bounds, h.Counts = append(h.Bounds, b.GetUpperBound()), append(h.Counts, b.GetCumulativeCount())
		}
	}
	return h
}

// add adds the observations of other to h. Buckets of other bounds cannot be added: they are left out. Within a family
// there are none.
func add(h *control.Histogram, other control.Histogram) {
	switch {
	case len(h.Bounds) == 0 && h.Count == 0:
		h.Bounds, h.Counts, h.Count = slices.Clone(other.Bounds), slices.Clone(other.Counts), other.Count
	case slices.Equal(h.Bounds, other.Bounds):
		for i, n := range other.Counts {
			h.Counts[i] += n
		}
		h.Count += other.Count
	}
}

// since is what h has counted since before. A counter that went back began again: all it has is new.
func since(h, before control.Histogram) control.Histogram {
	if h.Count < before.Count || !slices.Equal(h.Bounds, before.Bounds) {
		return h
	}
	d := control.Histogram{Bounds: h.Bounds, Counts: slices.Clone(h.Counts), Count: h.Count - before.Count}
	for i, n := range before.Counts {
		if n > d.Counts[i] {
			return h
		}
		d.Counts[i] -= n
	}
	return d
}

// increase is what a counter has grown by since before.
func increase(now, before float64) float64 {
	if now < before {
		return now
	}
	return now - before
}

// quantile returns below which value the share q of the observations lies, as histogram_quantile of PromQL does: within a
// bucket they are taken to be spread evenly, and beyond the last bound nobody knows, so that is the answer. Without
// observations there is none.
func quantile(q float64, h control.Histogram) (value float64, ok bool) {
	if h.Count == 0 || len(h.Bounds) == 0 {
		return 0, false
	}
	rank := q * float64(h.Count)
	at := slices.IndexFunc(h.Counts, func(n uint64) bool { return float64(n) >= rank })
	if at < 0 {
		return h.Bounds[len(h.Bounds)-1], true
	}
	low, below := 0.0, uint64(0)
	if at > 0 {
		low, below = h.Bounds[at-1], h.Counts[at-1]
	}
	within := h.Counts[at] - below
	if within == 0 {
		return h.Bounds[at], true
	}
	return low + (h.Bounds[at]-low)*(rank-float64(below))/float64(within), true
}
