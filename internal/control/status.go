// Package control is how commands talk to the running supervisor: JSON over
// HTTP on a Unix socket in the data directory, for root and the supervisor's
// own user alone.
//
//	GET  /v1/status            Status
//	GET  /v1/metrics           Metrics
//	GET  /v1/security          a list of SecurityRow
//	POST /v1/stop[?now=true]   202, the stop has begun
//	POST /v1/tiers/stop?name=NAME   a list of Standing, when the processes of the tier, or the replica, are gone
//	POST /v1/tiers/start?name=NAME  the same, when they are ready
//	POST /v1/restart?name=NAME 204 when the tier, replica or etcd is ready again
//	POST /v1/scale?TIER=N      204 when there are so many replicas
//	POST /v1/drain?name=REPLICA  204 when it is gone
//	GET /v1/trace?path=PATH    Trace
//	GET  /v1/certs             a list of pki.Certificate
//	POST /v1/certs/renew?name=NAME...  Renewed, when all go by it; all=true is all of them
//	POST /v1/certs/rotate-ca   CARotation, answered by 204 when it is done
//	POST /v1/join-token?ttl=D&listen=HOST:PORT  Invitation
//	POST /v1/upgrade           UpgradeRequest, answered by Upgraded when it is done
//	POST /v1/reload[?dry=true] Reload, when all that can change live has
//	POST /v1/snapshot          SnapshotRequest, answered by a stream of SnapshotEvent, the last of which tells how it ended
//	GET  /v1/snapshot          Snapshots
//	POST /v1/etcd/compact      Compaction, when it is done
//	POST /v1/etcd/move-extensions   MoveTarget, answered by Move when it is done
package control

import (
	"time"

	"triptych.dev/triptych/internal/pki"
)

// Status is how the control plane stands.
type Status struct {
	// Phase is Starting, Ready, Degraded or Stopping.
	Phase string `json:"phase"`
	// Reasons say, a line each, why the phase is not Ready though nothing is broken: what an operator has stopped.
	Reasons   []string `json:"reasons,omitempty"`
	SecureURL string   `json:"secureURL"`
	// InsecureURL is empty when there is no insecure listener.
	InsecureURL string    `json:"insecureURL"`
	Etcd        Etcd      `json:"etcd"`
	Isolation   Isolation `json:"isolation"`
	// Certificates is when those that processes show to one another and to clients end.
	Certificates Certificates `json:"certificates"`
	// Tiers are ordered from the head inwards.
	Tiers []Tier `json:"tiers"`
	// Snapshots are those taken by schedule, nil without one.
	Snapshots *Snapshots `json:"snapshots,omitempty"`
	// Upgrade is the last one, if there is one to tell of.
	Upgrade *Upgrade `json:"upgrade,omitempty"`
}

// Certificates is how the certificates stand.
type Certificates struct {
	// First is the name of the one that ends first, at FirstEnd.
	First    string     `json:"first,omitempty"`
	FirstEnd *time.Time `json:"firstEnd,omitempty"`
	// RenewedAt is when the next ones are renewed by themselves; nil where none is.
	RenewedAt *time.Time `json:"renewedAt,omitempty"`
	// RotationStep is the step that comes next in a replacement of the internal CA; empty where there is none.
	RotationStep string `json:"rotationStep,omitempty"`
	// Problem says in one line what is wrong with them, and what to do.
	Problem string `json:"problem,omitempty"`
}

// CARotation asks for a replacement of the internal CA.
type CARotation struct {
	// Now closes connections by certificates of the old CA at once; otherwise they have time to answer.
	Now bool `json:"now,omitempty"`
	// Step is the only one to be taken; empty is all of them.
	Step pki.Step `json:"step,omitempty"`
}

// Renewed names what was renewed.
type Renewed struct {
	Names []string `json:"names"`
}

// Isolation is what keeps the processes from one another and the machine.
type Isolation struct {
	// Users tells that each process is a user of its own.
	Users bool `json:"users"`
	// Sandbox is enforce, log or off.
	Sandbox string `json:"sandbox"`
	// Missing says what keeps them less apart than they could be, a sentence each.
	Missing []string `json:"missing,omitempty"`
}

// SecurityRow compares one thing about one process with what it should be.
type SecurityRow struct {
	// Process is the replica's name, or etcd.
	Process string `json:"process"`
	// What it is about: user, capabilities, a file below the data directory and so on.
	What string `json:"what"`
	Want string `json:"want"`
	Is   string `json:"is"`
	// OK: it is no more than it should be.
	OK bool `json:"ok"`
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

// Reload is what reading the configuration again has brought, or would bring.
type Reload struct {
	// Files are what was read, each laid over those before.
	Files []string `json:"files"`
	// Changes are the settings that differ from what is in force.
	Changes []Change `json:"changes"`
	// Waiting are commands that put in force what an earlier reload could not.
	Waiting []string `json:"waiting,omitempty"`
}

// Change is a setting that differs. From and To are empty for a setting that is left out.
type Change struct {
	Setting string `json:"setting"`
	From    string `json:"from"`
	To      string `json:"to"`
	// Outcome is applied, needs restart or failed; of a dry reload it is what it would be.
	Outcome string `json:"outcome"`
	// Commands are what it takes for the change to count, if it does not.
	Commands []string `json:"commands,omitempty"`
	// Problem is why it failed.
	Problem string `json:"problem,omitempty"`
}

// The outcomes of a change.
const (
	Applied      = "applied"
	NeedsRestart = "needs restart"
	Failed       = "failed"
)

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
	// Scaled is nil unless the next start of the supervisor has another number of processes.
	Scaled *Scaled `json:"scaled,omitempty"`
}

// Scaled is that supervisor scale was told another number of processes than the configuration says.
type Scaled struct {
	// To is what it was told, Configured what counts from the next start on.
	To         int `json:"to"`
	Configured int `json:"configured"`
}

// Replica is one process of a tier, or the place of one that is away.
type Replica struct {
	// Name is unique: core-0.
	Name string `json:"name"`
	// PID is 0 while there is no process.
	PID int `json:"pid"`
	// Stage is the highest stage the process has reached: configured,
	// constructed, prepared, ready or draining. Before the first it is starting;
	// without a process it is backoff, stopped, stopped by operator or failed.
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
	// CPULimitMillis is how much the process may take, in thousandths of a CPU, where the host can hold it to that.
	CPULimitMillis int64 `json:"cpuLimitMillis,omitempty"`
	// MemoryLimitBytes is at which size the process is killed, if it has a limit.
	MemoryLimitBytes int64 `json:"memoryLimitBytes,omitempty"`
	// MemoryLimitBy is who sees to that: supervisor, or cgroup and supervisor.
	MemoryLimitBy string `json:"memoryLimitBy,omitempty"`
	// PidsLimit is how many threads the process may have, where the host can hold it to that.
	PidsLimit int `json:"pidsLimit,omitempty"`
	// LastExit is how the process before this one ended.
	LastExit *Exit `json:"lastExit,omitempty"`
	// Version is what the process says it is, as /version calls gitVersion.
	Version string `json:"version,omitempty"`
	// BinDir is the folder of the program that its processes are started of.
	BinDir string `json:"binDir,omitempty"`
	// Emulates is the minor of Kubernetes that an upgrade has it emulate.
	Emulates string `json:"emulates,omitempty"`
	// Address is the host:port of the replica's hop listener.
	Address string `json:"address"`
	// Remote: it is on another host, and this supervisor knows no more of it than name,
	// address and stage, which is away while nobody answers.
	Remote bool `json:"remote,omitempty"`
	// Problem says in one line why processes here do not work with it, if so.
	Problem string `json:"problem,omitempty"`
	// Tunnels are those of core to the nodes, if they are reached by SSH.
	Tunnels *Tunnels `json:"tunnels,omitempty"`
}

// Standing is how a replica stands after it was to be stopped or started.
type Standing struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Stage is as in Replica.
	Stage string `json:"stage"`
	// Changed is false for one that was so before.
	Changed bool `json:"changed"`
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
