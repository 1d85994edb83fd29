package control

import (
	"context"
	"net/http"
	"time"
)

// Metrics is what the processes of this host have counted up to now, a reading of each. Rates are differences of two of
// these: see package vitals, which makes them.
type Metrics struct {
	// Processes are those of the tiers in the order of Status, and then etcd, if the supervisor runs one. Those of other
	// hosts, and places without a process, are left out.
	Processes []ProcessMetrics `json:"processes"`
	// Storage is how large the embedded etcd's database is; nil where there is none, or it does not say.
	Storage *Storage `json:"storage,omitempty"`
}

// ProcessMetrics is the reading of one process.
type ProcessMetrics struct {
	// Name is the replica's, as in Status, or etcd.
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Time is when it was read.
	Time time.Time `json:"time"`
	// CPUSeconds is how much of CPUs it has taken since its start, MemoryBytes its resident memory with shared pages, as the
	// kernel says. OpenFiles and MaxFiles are its file descriptors and how many it may have, Threads its threads; 0 is not
	// known.
	CPUSeconds  float64 `json:"cpuSeconds"`
	MemoryBytes int64   `json:"memoryBytes"`
	OpenFiles   int     `json:"openFiles,omitempty"`
	MaxFiles    uint64  `json:"maxFiles,omitempty"`
	Threads     int     `json:"threads,omitempty"`
	// Counters is what it says itself; nil of etcd, and of a process that gave none: Problem says why, in one line.
	Counters *Counters `json:"counters,omitempty"`
	Problem  string    `json:"problem,omitempty"`
}

// Counters is what the process of a tier has counted since its start, and how it stands. Watches and upgraded connections
// (exec, port-forward, proxy) are in Watches and Forwarded, and nowhere else.
type Counters struct {
	// Requests were answered here, Errors of them by 5xx, Rejected by 429.
	Requests float64 `json:"requests"`
	Errors   float64 `json:"errors"`
	Rejected float64 `json:"rejected"`
	// Latency is how long the answers took, in seconds.
	Latency Histogram `json:"latency"`
	// InFlight is how many requests are being answered here, Watches how many watches are open.
	InFlight int `json:"inFlight"`
	Watches  int `json:"watches"`
	// Forwarded were handed to other tiers, watches too; ForwardedErrors of them were not answered, or not to the end.
	// ForwardLatency is until the first byte of the answer, in seconds; of none that were not answered.
	Forwarded       float64   `json:"forwarded"`
	ForwardedErrors float64   `json:"forwardedErrors"`
	ForwardLatency  Histogram `json:"forwardLatency"`
	// Transit is how long requests took from the receipt by the tier before to here, in seconds.
	Transit Histogram `json:"transit"`
	// StorageLatency is how long calls to etcd took, in seconds.
	StorageLatency Histogram `json:"storageLatency"`
	// StorageBytes is how large the database of its etcd is on disk; 0 is not known.
	StorageBytes int64 `json:"storageBytes,omitempty"`
}

// Histogram counts observations by their size.
type Histogram struct {
	// Bounds are the upper bounds of the buckets, ascending, without the last, which has none. Counts are how many
	// observations were no larger than the bound beside.
	Bounds []float64 `json:"bounds,omitempty"`
	Counts []uint64  `json:"counts,omitempty"`
	// Count is all observations.
	Count uint64 `json:"count"`
}

// Storage is the database of etcd, in bytes.
type Storage struct {
	SizeBytes int64 `json:"sizeBytes"`
	// QuotaBytes is at which size writes are refused.
	QuotaBytes int64 `json:"quotaBytes"`
	// Full tells that they are.
	Full bool `json:"full"`
}

// Metrics reads what the processes have counted. It takes as long as the slowest of them, which is bounded.
func (c *Client) Metrics(ctx context.Context) (*Metrics, error) {
	m := &Metrics{}
	return m, c.call(ctx, http.MethodGet, "/v1/metrics", nil, m)
}

func metrics(s Supervisor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, s.Metrics(r.Context())) }
}
