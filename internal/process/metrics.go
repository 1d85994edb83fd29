package process

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"triptych.dev/triptych/internal/credentials"
)

// certificateEnd is for whoever is to be told before certificates end because nobody replaces them.
var certificateEnd = metrics.NewGaugeVec(&metrics.GaugeOpts{
	Name: "triptych_internal_certificate_expiration_timestamp_seconds",
	Help: "When the certificates end that the process shows to others, by what they are for.", StabilityLevel: metrics.ALPHA,
}, []string{"certificate"})

var register = sync.OnceFunc(func() { legacyregistry.MustRegister(certificateEnd) })

// report shows when the certificates in use end.
func (p papers) report() {
	register()
	for what, one := range map[string]*credentials.Credentials{"serving": p.serving, "self": p.self, "delegation": p.delegation} {
		if one != nil {
			certificateEnd.WithLabelValues(what).Set(float64(one.Now().Pair.Leaf.NotAfter.Unix()))
		}
	}
}
