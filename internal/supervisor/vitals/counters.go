package vitals

import (
	"errors"
	"fmt"
	"io"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"triptych.dev/triptych/internal/control"
)

// The families that are read, see docs/metrics.md.
const (
	requestTotal    = "apiserver_request_total"
	requestDuration = "apiserver_request_duration_seconds"
	inFlight        = "apiserver_current_inflight_requests"
	longRunning     = "apiserver_longrunning_requests"
	storageSize     = "apiserver_storage_size_bytes"
	etcdDuration    = "etcd_request_duration_seconds"
	hopDuration     = "triptych_hop_request_duration_seconds"
	hopErrors       = "triptych_hop_errors_total"
	hopTransit      = "triptych_hop_transit_duration_seconds"
)

// Families are the names of all metrics that Counters reads, for a query that asks for no others.
var Families = []string{
	requestTotal, requestDuration, inFlight, longRunning, storageSize, etcdDuration, hopDuration, hopErrors, hopTransit,
}

// Format is what Counters reads: the only one that holds all there is to a metric.
var Format = expfmt.NewFormat(expfmt.TypeProtoDelim)

// Counters reads the metrics of one process, in Format. What is missing is zero: a process has no families of what it has
// not done yet. What does not parse is an error. The supervisor calls it.
func Counters(from io.Reader) (*control.Counters, error) {
	decoder, c := expfmt.NewDecoder(from, Format), &control.Counters{}
	for {
		family := &dto.MetricFamily{}
		switch err := decoder.Decode(family); {
		case errors.Is(err, io.EOF):
			return c, nil
		case err != nil:
			return nil, fmt.Errorf("cannot read metrics: %w", err)
		}
		for _, m := range family.GetMetric() {
			count(c, family.GetName(), m)
		}
	}
}

func count(c *control.Counters, name string, m *dto.Metric) {
	switch name {
	case requestTotal:
		if endless(m) {
			return
		}
		n := m.GetCounter().GetValue()
		c.Requests += n
		switch code := label(m, "code"); {
		case strings.HasPrefix(code, "5"):
			c.Errors += n
		case code == "429":
			c.Rejected += n
		}
	case requestDuration:
		if !endless(m) {
			add(&c.Latency, histogram(m))
		}
	case inFlight:
		c.InFlight += int(m.GetGauge().GetValue())
	case longRunning:
		if isWatch(m) {
			c.Watches += int(m.GetGauge().GetValue())
		}
	case storageSize:
		c.StorageBytes += int64(m.GetGauge().GetValue())
	case etcdDuration:
		add(&c.StorageLatency, histogram(m))
	case hopDuration:
		is := histogram(m)
		c.Forwarded += float64(is.Count)
		if label(m, "outcome") == "answered" {
			add(&c.ForwardLatency, is)
		}
	case hopErrors:
		c.ForwardedErrors += m.GetCounter().GetValue()
	case hopTransit:
		add(&c.Transit, histogram(m))
	}
}

// endless tells of requests whose length is their client's choice.
func endless(m *dto.Metric) bool { return isWatch(m) || label(m, "verb") == "CONNECT" }

func isWatch(m *dto.Metric) bool {
	verb := label(m, "verb")
	return verb == "WATCH" || verb == "WATCHLIST"
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
