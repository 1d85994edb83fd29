package authentication

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// duration takes the place of upstream's metric of the same name. That one
// measures upstream's filter, which here reads a verdict that is there already.
var duration = metrics.NewHistogramVec(&metrics.HistogramOpts{
	Name:           durationName,
	Help:           "Authentication duration in seconds broken out by result.",
	Buckets:        metrics.ExponentialBuckets(0.001, 2, 15),
	StabilityLevel: metrics.ALPHA,
}, durationLabels)

const durationName = "authentication_duration_seconds"

var durationLabels = []string{"result"}

// registerDuration takes upstream's metric out and puts ours in.
var registerDuration = sync.OnceFunc(func() {
	genericfilters.RegisterMetrics()
	legacyregistry.Registerer().Unregister(prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: durationName}, durationLabels))
	legacyregistry.MustRegister(duration)
})

func (v *verdict) measure(ctx context.Context, took time.Duration) {
	result := "success"
	switch {
	case v.err != nil:
		result = "error"
	case !v.ok:
		result = "failure"
	}
	duration.WithContext(ctx).WithLabelValues(result).Observe(took.Seconds())
}
