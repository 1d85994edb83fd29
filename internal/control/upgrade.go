package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// What an UpgradeRequest asks for.
const (
	// UpgradeBegin brings the tiers to other programs.
	UpgradeBegin = "begin"
	// UpgradeCheck says whether that could be done, and does nothing.
	UpgradeCheck = "check"
	// UpgradeContinue takes the last step of one that was held.
	UpgradeContinue = "continue"
	// UpgradeRollback brings the tiers back to the old programs.
	UpgradeRollback = "rollback"
)

// UpgradeRequest is what is to be done, and how.
type UpgradeRequest struct {
	Action string `json:"action"`
	// BinDir is the folder of the new programs, absolute.
	BinDir string `json:"binDir,omitempty"`
	// Hold stops before the last step, after which there is no way back.
	Hold bool `json:"hold,omitempty"`
	// ReadyWithin is how long each new process may take to become ready.
	ReadyWithin time.Duration `json:"readyWithin"`
	// Settle is how long all new processes are watched before it goes on.
	Settle time.Duration `json:"settle"`
}

// Upgraded is what an upgrade has done. Lines are for people.
type Upgraded struct {
	Lines []string `json:"lines"`
}

// Upgrade is how the last upgrade stands.
type Upgrade struct {
	// State is Replacing, Held, Lifting, Done or RollingBack.
	State string `json:"state"`
	// From and To are the folders of the old and the new programs.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
	// FromKubernetes and ToKubernetes are their versions.
	FromKubernetes string `json:"fromKubernetes,omitempty"`
	ToKubernetes   string `json:"toKubernetes,omitempty"`
	// Emulates is the minor that new processes emulate, until the last step.
	Emulates string `json:"emulates,omitempty"`
	// Step is what is being done, empty if nothing is.
	Step string `json:"step,omitempty"`
	// Problem is why the last one failed.
	Problem string `json:"problem,omitempty"`
	// CanRollBack tells whether supervisor upgrade --rollback would work.
	CanRollBack bool `json:"canRollBack"`
}

// RefusedError tells that something cannot be done, and that nothing was changed.
type RefusedError struct{ Err error }

func (e RefusedError) Error() string { return e.Err.Error() }
func (e RefusedError) Unwrap() error { return e.Err }

// RolledBackError tells that something failed and was undone.
type RolledBackError struct{ Err error }

func (e RolledBackError) Error() string { return e.Err.Error() }
func (e RolledBackError) Unwrap() error { return e.Err }

const (
	reasonRefused    = "refused"
	reasonRolledBack = "rolledBack"
)

// Upgrade does what r says, and returns when it is done. If ctx ends before, the
// supervisor goes on.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest) (*Upgraded, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	done := &Upgraded{}
	return done, c.send(ctx, http.MethodPost, "/v1/upgrade", nil, bytes.NewReader(body), done)
}

func upgrade(s Supervisor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked UpgradeRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			answer(w, http.StatusBadRequest, failure{Error: err.Error()})
			return
		}
		done, err := s.Upgrade(r.Context(), asked)
		if err != nil {
			answer(w, http.StatusConflict, failureOf(err))
			return
		}
		answer(w, http.StatusOK, done)
	}
}
