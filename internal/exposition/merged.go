package exposition

import (
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"k8s.io/klog/v2"
)

// The labels say which tier a sample is of, and which replica where the tier has
// several. Without, the counter of a process that restarts would take part of a sum
// back, which is no reset to Prometheus.
const tierLabel, replicaLabel = "tier", "replica"

// merged are the families of several tiers by name.
type merged map[string]*dto.MetricFamily

// add labels the samples with the process, unless that is empty, and adds them. It
// takes the families over, but not their lists of labels, which those who
// measure still hold.
func (m merged) add(of process, families []*dto.MetricFamily) {
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			metric.Label = of.labelled(metric.GetLabel())
		}
		first, known := m[family.GetName()]
		switch {
		case !known:
			m[family.GetName()] = family
		case first.GetType() != family.GetType(): // would make the whole scrape invalid
			klog.InfoS("Tiers disagree on the type of a metric", "metric", family.GetName(), "tier", of.tier)
		default:
			first.Metric = append(first.Metric, family.GetMetric()...)
		}
	}
}

// labelled returns labels, or a copy with those of the process.
func (p process) labelled(labels []*dto.LabelPair) []*dto.LabelPair {
	if p.replica != "" {
		labels = with(labels, replicaLabel, p.replica)
	}
	if p.tier != "" {
		labels = with(labels, tierLabel, string(p.tier))
	}
	return labels
}

// with returns a copy with the label where the order of names has it.
func with(labels []*dto.LabelPair, name, value string) []*dto.LabelPair {
	at, _ := slices.BinarySearchFunc(labels, name, func(l *dto.LabelPair, name string) int {
		return strings.Compare(l.GetName(), name)
	})
	out := make([]*dto.LabelPair, 0, len(labels)+1)
	out = append(out, labels[:at]...)
	out = append(out, &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)})
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

// sample is the value of a gauge for a process.
type sample struct {
	of    process
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
			Label: s.of.labelled(nil),
			Gauge: &dto.Gauge{Value: proto.Float64(s.value)},
		})
	}
	return family
}
