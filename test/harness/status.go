package harness

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Status is what `supervisor status -o json` prints. It is written down again
// here, apart from the code that prints it, because scripts rely on it.
type Status struct {
	Phase       string   `json:"phase"`
	Reasons     []string `json:"reasons"`
	SecureURL   string   `json:"secureURL"`
	InsecureURL string   `json:"insecureURL"`
	Etcd        struct {
		PID      int    `json:"pid"`
		Embedded bool   `json:"embedded"`
		Problem  string `json:"problem"`
	} `json:"etcd"`
	Isolation struct {
		Users   bool     `json:"users"`
		Sandbox string   `json:"sandbox"`
		Missing []string `json:"missing"`
	} `json:"isolation"`
	Tiers     []TierStatus     `json:"tiers"`
	Upgrade   *UpgradeStatus   `json:"upgrade"`
	Snapshots *SnapshotsStatus `json:"snapshots"`
}

// SnapshotsStatus is how the schedule of snapshots stands.
type SnapshotsStatus struct {
	Next *time.Time `json:"next"`
	Last *struct {
		Path  string    `json:"path"`
		Taken time.Time `json:"taken"`
	} `json:"last"`
	Problem  string `json:"problem"`
	Failures int    `json:"failures"`
}

// TierStatus is one tier of a Status.
type TierStatus struct {
	Name     string          `json:"name"`
	Replicas []ReplicaStatus `json:"replicas"`
}

// ReplicaStatus is one process of a tier.
type ReplicaStatus struct {
	Name      string    `json:"name"`
	PID       int       `json:"pid"`
	Stage     string    `json:"stage"`
	Restarts  int       `json:"restarts"`
	StartedAt time.Time `json:"startedAt"`
	RSSBytes  int64     `json:"rssBytes"`
	CPU       string    `json:"cpu"`
	// CPULimitMillis is 0 without a limit, and where it cannot be held.
	CPULimitMillis int64 `json:"cpuLimitMillis"`
	// MemoryLimitBy is empty without a limit.
	MemoryLimitBy string          `json:"memoryLimitBy"`
	LastExit      json.RawMessage `json:"lastExit"`
	Address       string          `json:"address"`
	Version       string          `json:"version"`
	BinDir        string          `json:"binDir"`
	Emulates      string          `json:"emulates"`
	Tunnels       *TunnelsStatus  `json:"tunnels"`
	// Remote is on another host.
	Remote  bool   `json:"remote"`
	Problem string `json:"problem"`
}

// UpgradeStatus is how the last upgrade stands.
type UpgradeStatus struct {
	State       string `json:"state"`
	Step        string `json:"step"`
	Problem     string `json:"problem"`
	CanRollBack bool   `json:"canRollBack"`
}

// TunnelsStatus is how core's SSH tunnels stand.
type TunnelsStatus struct {
	Up             int     `json:"up"`
	Connecting     int     `json:"connecting"`
	Down           int     `json:"down"`
	SyncAgeSeconds float64 `json:"syncAgeSeconds"`
	Problem        string  `json:"problem"`
}

// Replica returns the first replica of a tier; a zero one if there is none.
func (s Status) Replica(tier string) ReplicaStatus {
	for _, t := range s.Tiers {
		if t.Name == tier && len(t.Replicas) > 0 {
			return t.Replicas[0]
		}
	}
	return ReplicaStatus{}
}

// PIDs are the processes of the tiers by name.
func (s Status) PIDs() map[string]int {
	pids := map[string]int{}
	for _, t := range s.Tiers {
		pids[t.Name] = s.Replica(t.Name).PID
	}
	return pids
}

// String is for failures: the phase, and each tier's stage.
func (s Status) String() string {
	words := []string{"phase " + s.Phase}
	for _, t := range s.Tiers {
		for _, r := range t.Replicas {
			words = append(words, fmt.Sprintf("%s (pid %d) %s, %d restarts", t.Name, r.PID, r.Stage, r.Restarts))
		}
	}
	return strings.Join(words, "; ")
}
