package vitals

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"triptych.dev/triptych/internal/control"
)

// exposed is what a process could tell, in the format that people read.
const exposed = `
# TYPE apiserver_request_total counter
apiserver_request_total{verb="GET",code="200",resource="pods"} 10
apiserver_request_total{verb="LIST",code="503",resource="pods"} 2
apiserver_request_total{verb="POST",code="429",resource="pods"} 3
apiserver_request_total{verb="WATCH",code="200",resource="pods"} 100
apiserver_request_total{verb="CONNECT",code="500",resource="pods",subresource="exec"} 100
# TYPE apiserver_request_duration_seconds histogram
apiserver_request_duration_seconds_bucket{verb="GET",le="0.1"} 8
apiserver_request_duration_seconds_bucket{verb="GET",le="1"} 10
apiserver_request_duration_seconds_bucket{verb="GET",le="+Inf"} 10
apiserver_request_duration_seconds_sum{verb="GET"} 1
apiserver_request_duration_seconds_count{verb="GET"} 10
apiserver_request_duration_seconds_bucket{verb="LIST",le="0.1"} 0
apiserver_request_duration_seconds_bucket{verb="LIST",le="1"} 1
apiserver_request_duration_seconds_bucket{verb="LIST",le="+Inf"} 2
apiserver_request_duration_seconds_sum{verb="LIST"} 1
apiserver_request_duration_seconds_count{verb="LIST"} 2
apiserver_request_duration_seconds_bucket{verb="WATCH",le="0.1"} 0
apiserver_request_duration_seconds_bucket{verb="WATCH",le="1"} 0
apiserver_request_duration_seconds_bucket{verb="WATCH",le="+Inf"} 100
apiserver_request_duration_seconds_sum{verb="WATCH"} 1
apiserver_request_duration_seconds_count{verb="WATCH"} 100
# TYPE apiserver_current_inflight_requests gauge
apiserver_current_inflight_requests{request_kind="mutating"} 1
apiserver_current_inflight_requests{request_kind="readOnly"} 4
# TYPE apiserver_longrunning_requests gauge
apiserver_longrunning_requests{verb="WATCH",resource="pods"} 5
apiserver_longrunning_requests{verb="WATCH",resource="nodes"} 6
apiserver_longrunning_requests{verb="CONNECT",resource="pods"} 7
# TYPE apiserver_storage_size_bytes gauge
apiserver_storage_size_bytes{storage_cluster_id="a"} 4096
# TYPE triptych_hop_request_duration_seconds histogram
triptych_hop_request_duration_seconds_bucket{delegate="core",outcome="answered",le="0.1"} 4
triptych_hop_request_duration_seconds_bucket{delegate="core",outcome="answered",le="+Inf"} 4
triptych_hop_request_duration_seconds_sum{delegate="core",outcome="answered"} 1
triptych_hop_request_duration_seconds_count{delegate="core",outcome="answered"} 4
triptych_hop_request_duration_seconds_bucket{delegate="core",outcome="expired",le="0.1"} 0
triptych_hop_request_duration_seconds_bucket{delegate="core",outcome="expired",le="+Inf"} 1
triptych_hop_request_duration_seconds_sum{delegate="core",outcome="expired"} 60
triptych_hop_request_duration_seconds_count{delegate="core",outcome="expired"} 1
# TYPE triptych_hop_errors_total counter
triptych_hop_errors_total{delegate="core",reason="timeout"} 1
# TYPE triptych_hop_transit_duration_seconds histogram
triptych_hop_transit_duration_seconds_bucket{from="aggregator",le="0.001"} 9
triptych_hop_transit_duration_seconds_bucket{from="aggregator",le="+Inf"} 9
triptych_hop_transit_duration_seconds_sum{from="aggregator"} 0.001
triptych_hop_transit_duration_seconds_count{from="aggregator"} 9
# TYPE etcd_request_duration_seconds histogram
etcd_request_duration_seconds_bucket{operation="get",le="0.005"} 3
etcd_request_duration_seconds_bucket{operation="get",le="+Inf"} 3
etcd_request_duration_seconds_sum{operation="get"} 0.001
etcd_request_duration_seconds_count{operation="get"} 3
# TYPE apiserver_something_else counter
apiserver_something_else 1000
`

// delimited is text in the format that processes are asked for.
func delimited(t *testing.T, text string) *bytes.Buffer {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	encoder := expfmt.NewEncoder(&out, Format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			t.Fatal(err)
		}
	}
	return &out
}

func TestWatchesAndConnectsAreNoRequests(t *testing.T) {
	got, err := Counters(delimited(t, exposed))
	want := &control.Counters{
		Requests: 15, Errors: 2, Rejected: 3, InFlight: 5, Watches: 11, Forwarded: 5, ForwardedErrors: 1, StorageBytes: 4096,
		Latency:        control.Histogram{Bounds: []float64{0.1, 1}, Counts: []uint64{8, 11}, Count: 12},
		ForwardLatency: control.Histogram{Bounds: []float64{0.1}, Counts: []uint64{4}, Count: 4},
		Transit:        control.Histogram{Bounds: []float64{0.001}, Counts: []uint64{9}, Count: 9},
		StorageLatency: control.Histogram{Bounds: []float64{0.005}, Counts: []uint64{3}, Count: 3},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestAProcessThatHasDoneNothingHasCountedNothing(t *testing.T) {
	if got, err := Counters(strings.NewReader("")); err != nil || got.Requests != 0 || got.Latency.Count != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestWhatIsCutOffIsAnError(t *testing.T) {
	whole := delimited(t, exposed).Bytes()
	if got, err := Counters(bytes.NewReader(whole[:len(whole)-1])); err == nil {
		t.Errorf("%+v", got)
	}
}
