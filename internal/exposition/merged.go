package exposition

import (
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/tier"
)

// label says which tier a sample is of. Without it, the counter of a tier that
// restarts would take part of a sum back, which is no reset to Prometheus.
const label = "tier"

// merged are the families of several tiers by name.
type merged map[string]*dto.MetricFamily

// add labels the samples with the tier, unless that is empty, and adds them. It
// takes the families over, but not their lists of labels, which those who
// measure still hold.
func (m merged) add(name tier.Name, families []*dto.MetricFamily) {
	for _, family := range families {
		if name != "" {
			for _, metric := range family.GetMetric() {
				metric.Label = labelled(metric.GetLabel(), string(name))
			}
		}
		first, known := m[family.GetName()]
		switch {
		case !known:
			m[family.GetName()] = family
		case first.GetType() != family.GetType(): // would make the whole scrape invalid
			klog.InfoS("Tiers disagree on the type of a metric", "metric", family.GetName(), "tier", name)
		default:
			first.Metric = append(first.Metric, family.GetMetric()...)
		}
	}
}

// labelled returns a copy with the tier where the order of names has it.
func labelled(labels []*dto.LabelPair, name string) []*dto.LabelPair {
	at, _ := slices.BinarySearchFunc(labels, label, func(l *dto.LabelPair, name string) int {
		return strings.Compare(l.GetName(), name)
	})
	out := make([]*dto.LabelPair, 0, len(labels)+1)
	out = append(out, labels[:at]...)
	out = append(out, &dto.LabelPair{Name: proto.String(label), Value: proto.String(name)})
	return append(out, labels[at:]...)
}

// sorted returns the families by name, as a registry would.
func (m merged) sorted() []*dto.MetricFamily {
	out := make([]*dto.MetricFamily, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[name])
	}
	return out
}

// sample is the value of a gauge for a tier.
type sample struct {
	tier  tier.Name
	value float64
}

// tiersUp says whose metrics are there.
func tiersUp(samples []sample) *dto.MetricFamily {
	family := &dto.MetricFamily{
		Name: proto.String("triptych_tier_up"),
		Help: proto.String("[ALPHA] Whether the tier gave its metrics to this scrape. What is missing of one that did not is unknown, not zero."),
		Type: dto.MetricType_GAUGE.Enum(),
	}
	for _, s := range samples {
		family.Metric = append(family.Metric, &dto.Metric{
			Label: labelled(nil, string(s.tier)),
			Gauge: &dto.Gauge{Value: proto.Float64(s.value)},
		})
	}
	return family
}
