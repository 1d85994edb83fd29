// Package vitals is how a running control plane does from one moment to the next: requests and errors per second,
// latencies, open watches, CPU and memory of each process. A Sampler makes a Sample of two readings that it takes over
// the control socket; who may not use that socket learns nothing here.
package vitals

import (
	"time"

	"triptych.dev/triptych/internal/control"
)

// Sample is how the control plane stands at one moment, and what it did since the sample before. A number that is nil, and
// left out of JSON, is not known: of a first sample, of a process that does not answer, of one on another host.
type Sample struct {
	// Time is when it was taken, IntervalSeconds how long ago the one before was; 0 of the first.
	Time            time.Time `json:"time"`
	IntervalSeconds float64   `json:"intervalSeconds"`
	// Phase is Starting, Ready, Degraded or Stopping.
	Phase string `json:"phase"`
	// SecureURL is where clients reach the head, Version what the head says it is, as /version calls gitVersion.
	SecureURL string `json:"secureURL"`
	Version   string `json:"version,omitempty"`
	Etcd      Etcd   `json:"etcd"`
	// Tiers are ordered from the head inwards.
	Tiers []Tier `json:"tiers"`
	// Total sums up all tiers of this host, and CPU and memory of the embedded etcd. A request is counted by the tier that
	// answers it, so the sum counts it once; it has the calls that tiers make to one another.
	Total Load `json:"total"`
	// Notes are what is wrong, or should be known, a line each.
	Notes []string `json:"notes,omitempty"`
}

// Etcd is the storage.
type Etcd struct {
	// Embedded: the supervisor runs it, and PID is that of its process, 0 while there is none.
	Embedded bool `json:"embedded"`
	PID      int  `json:"pid,omitempty"`
	// SizeBytes is the database on disk, QuotaBytes at which size writes are refused, Full whether they are. The quota is
	// known of an embedded one alone.
	SizeBytes  *int64 `json:"sizeBytes,omitempty"`
	QuotaBytes *int64 `json:"quotaBytes,omitempty"`
	Full       bool   `json:"full,omitempty"`
	// CPUPercent is 100 for one CPU, MemoryBytes resident memory. Both are known of an embedded one alone.
	CPUPercent  *float64 `json:"cpuPercent,omitempty"`
	MemoryBytes *int64   `json:"memoryBytes,omitempty"`
	// Problem says what is wrong with it and what to do, in one line.
	Problem string `json:"problem,omitempty"`
}

// Tier is one tier, its replicas, and the sum of them.
type Tier struct {
	Name     string    `json:"name"`
	Replicas []Replica `json:"replicas"`
	Load
}

// Replica is one process of a tier, or the place of one that is away.
type Replica struct {
	// Name is unique: core-0.
	Name string `json:"name"`
	// PID is 0 while there is no process.
	PID int `json:"pid"`
	// Stage is as in control.Replica: configured, constructed, prepared, ready or draining, or a state such as backoff.
	Stage string `json:"stage"`
	// Remote: it is on another host, whose supervisor alone knows more than name and stage.
	Remote bool `json:"remote,omitempty"`
	// UptimeSeconds is the age of the process; nil without one.
	UptimeSeconds *float64 `json:"uptimeSeconds,omitempty"`
	// Restarts counts the processes before this one, LastExit is how the one before ended.
	Restarts int           `json:"restarts"`
	LastExit *control.Exit `json:"lastExit,omitempty"`
	Version  string        `json:"version,omitempty"`
	// OpenFiles are file descriptors, of at most MaxFiles. MemoryLimitBytes is 0 where there is none.
	OpenFiles        *int64 `json:"openFiles,omitempty"`
	MaxFiles         *int64 `json:"maxFiles,omitempty"`
	Threads          *int64 `json:"threads,omitempty"`
	MemoryLimitBytes int64  `json:"memoryLimitBytes,omitempty"`
	Load
	// Problem says in one line why there are no numbers of it, or why others do not work with it.
	Problem string `json:"problem,omitempty"`
}

// Load is what processes do. Latencies are of the requests since the sample before, and nil if there was none.
type Load struct {
	// RequestsPerSecond were answered here, watches and upgraded connections left out; ErrorsPerSecond of them by 5xx,
	// RejectedPerSecond by 429.
	RequestsPerSecond *float64 `json:"requestsPerSecond,omitempty"`
	ErrorsPerSecond   *float64 `json:"errorsPerSecond,omitempty"`
	RejectedPerSecond *float64 `json:"rejectedPerSecond,omitempty"`
	// LatencyP50Seconds and LatencyP99Seconds are how long half and 99 of 100 of them took at most.
	LatencyP50Seconds *float64 `json:"latencyP50Seconds,omitempty"`
	LatencyP99Seconds *float64 `json:"latencyP99Seconds,omitempty"`
	// InFlight is how many requests are being answered, Watches how many watches are open.
	InFlight *int64 `json:"inFlight,omitempty"`
	Watches  *int64 `json:"watches,omitempty"`
	// ForwardedPerSecond were handed to another tier, watches too; ForwardedErrorsPerSecond of them were not answered, or
	// not to the end. ForwardP99Seconds is to the first byte of the answer.
	ForwardedPerSecond       *float64 `json:"forwardedPerSecond,omitempty"`
	ForwardedErrorsPerSecond *float64 `json:"forwardedErrorsPerSecond,omitempty"`
	ForwardP99Seconds        *float64 `json:"forwardP99Seconds,omitempty"`
	// HopP99Seconds is how long requests took from the receipt by the tier before to here: what the hop costs on the way in.
	HopP99Seconds *float64 `json:"hopP99Seconds,omitempty"`
	// StorageP99Seconds is how long calls to etcd took.
	StorageP99Seconds *float64 `json:"storageP99Seconds,omitempty"`
	// CPUPercent is 100 for one CPU, MemoryBytes resident memory with shared pages.
	CPUPercent  *float64 `json:"cpuPercent,omitempty"`
	MemoryBytes *int64   `json:"memoryBytes,omitempty"`
}
