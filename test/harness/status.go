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
	Phase       string `json:"phase"`
	SecureURL   string `json:"secureURL"`
	InsecureURL string `json:"insecureURL"`
	Etcd        struct {
		PID      int    `json:"pid"`
		Embedded bool   `json:"embedded"`
		Problem  string `json:"problem"`
	} `json:"etcd"`
	Tiers []TierStatus `json:"tiers"`
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
	// MemoryLimitBy is empty without a limit.
	MemoryLimitBy string          `json:"memoryLimitBy"`
	LastExit      json.RawMessage `json:"lastExit"`
	Address       string          `json:"address"`
	Tunnels       *TunnelsStatus  `json:"tunnels"`
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
