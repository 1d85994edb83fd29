// Package control is how commands talk to the running supervisor: JSON over
// HTTP on a Unix socket in the data directory, for root and the supervisor's
// own user alone.
//
//	GET  /v1/status            Status
//	POST /v1/stop[?now=true]   202, the stop has begun
//	POST /v1/restart?name=NAME 204 when the tier, replica or etcd is ready again
//	POST /v1/scale?TIER=N      204 when there are so many replicas
//	POST /v1/join-token?ttl=D&listen=HOST:PORT  Invitation
//	POST /v1/etcd/compact      Compaction, when it is done
//	POST /v1/etcd/move-extensions   MoveTarget, answered by Move when it is done
package control

import "time"

// Status is how the control plane stands.
type Status struct {
	// Phase is Starting, Ready, Degraded or Stopping.
	Phase     string `json:"phase"`
	SecureURL string `json:"secureURL"`
	// InsecureURL is empty when there is no insecure listener.
	InsecureURL string `json:"insecureURL"`
	Etcd        Etcd   `json:"etcd"`
	// Tiers are ordered from the head inwards.
	Tiers []Tier `json:"tiers"`
}

// Etcd is the storage. PID is 0 while there is no process of ours.
type Etcd struct {
	PID      int  `json:"pid"`
	Embedded bool `json:"embedded"`
	// Extensions are the URLs of the etcd that CRDs and custom resources have alone.
	Extensions []string `json:"extensions,omitempty"`
	// Problem says what is wrong with it and what to do, in one line.
	Problem string `json:"problem,omitempty"`
}

// Invitation is by what another host joins.
type Invitation struct {
	// Token is a secret: whoever has it becomes an administrator.
	Token   string    `json:"token"`
	Address string    `json:"address"`
	Expires time.Time `json:"expires"`
}

// Compaction is what making room in etcd has brought.
type Compaction struct {
	// Before and After say how much of the quota was taken, and is.
	Before string `json:"before"`
	After  string `json:"after"`
	// Full tells that there still is no room, and writes are refused.
	Full bool `json:"full"`
}

// MoveTarget is the etcd that CRDs and custom resources are to move to.
type MoveTarget struct {
	// Servers are URLs; none is the etcd of all the rest. Files are absolute paths, or
	// empty.
	Servers  []string `json:"servers,omitempty"`
	CAFile   string   `json:"caFile,omitempty"`
	CertFile string   `json:"certFile,omitempty"`
	KeyFile  string   `json:"keyFile,omitempty"`
	// DeleteSource has what was moved deleted where it was.
	DeleteSource bool `json:"deleteSource,omitempty"`
}

// Move is what a move has done.
type Move struct {
	// Keys and Bytes are what was found to be the same in both.
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
	// Raised is how many writes it took to raise the revision.
	Raised int64 `json:"raised"`
	// AwaySeconds is how long custom resources were not served.
	AwaySeconds float64 `json:"awaySeconds"`
	// Deleted is how many keys were deleted where they were.
	Deleted int64 `json:"deleted"`
	// Flags are those to start the supervisor with from now on.
	Flags string `json:"flags"`
}

// Tier is one tier and its processes.
type Tier struct {
	Name     string    `json:"name"`
	Replicas []Replica `json:"replicas"`
}

// Replica is one process of a tier, or the place of one that is away.
type Replica struct {
	// Name is unique: core-0.
	Name string `json:"name"`
	// PID is 0 while there is no process.
	PID int `json:"pid"`
	// Stage is the highest stage the process has reached: configured,
	// constructed, prepared, ready or draining. Before the first it is starting;
	// without a process it is backoff, stopped or failed.
	Stage string `json:"stage"`
	// Restarts counts the processes before this one.
	Restarts int `json:"restarts"`
	// StartedAt is when the process was started, or the last one that was.
	StartedAt *time.Time `json:"startedAt,omitempty"`
	// RSSBytes is the resident memory, shared pages included.
	RSSBytes int64 `json:"rssBytes"`
	// CPU is by what means the process leaves the CPU to the others: cgroup or nice. It is
	// empty for one that does not, and where the host has no means.
	CPU string `json:"cpu,omitempty"`
	// MemoryLimitBytes is at which size the process is killed, if it has a limit.
	MemoryLimitBytes int64 `json:"memoryLimitBytes,omitempty"`
	// MemoryLimitBy is who sees to that: supervisor, or cgroup and supervisor.
	MemoryLimitBy string `json:"memoryLimitBy,omitempty"`
	// LastExit is how the process before this one ended.
	LastExit *Exit `json:"lastExit,omitempty"`
	// Address is the host:port of the replica's hop listener.
	Address string `json:"address"`
	// Tunnels are those of core to the nodes, if they are reached by SSH.
	Tunnels *Tunnels `json:"tunnels,omitempty"`
}

// Tunnels is how many SSH tunnels to nodes are in each state.
type Tunnels struct {
	Up int `json:"up"`
	// Connecting were not up yet, and no attempt has failed.
	Connecting int `json:"connecting"`
	// Down are tried again: the process' log says why they are.
	Down int `json:"down"`
	// SyncAgeSeconds is the time since the tunnels were made to agree with the nodes.
	SyncAgeSeconds float64 `json:"syncAgeSeconds"`
	// Problem says why all of that is not known, in one line.
	Problem string `json:"problem,omitempty"`
}

// Exit is the end of a process.
type Exit struct {
	// Code is the exit status, or -1 if a signal ended the process or it could
	// not be started.
	Code int `json:"code"`
	// Signal is what ended the process, such as SIGKILL.
	Signal string    `json:"signal,omitempty"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
}
