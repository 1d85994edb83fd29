package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"triptych.dev/triptych/internal/datadir"
)

// The states of an upgrade.
const (
	// upgradeReplacing: new processes take the places of old ones.
	upgradeReplacing = "Replacing"
	// upgradeHeld: all are new, and emulate the old minor.
	upgradeHeld = "Held"
	// upgradeLifting: processes that do not emulate take their places.
	upgradeLifting = "Lifting"
	// upgradeDone: all are new.
	upgradeDone = "Done"
	// upgradeRollingBack: old processes take the places of new ones.
	upgradeRollingBack = "RollingBack"
)

// memory is what outlives a supervisor about an upgrade. It is never changed: another
// takes its place.
type memory struct {
	State string `json:"state"`
	// Given is the folder that the supervisor was started with before the first upgrade.
	Given string `json:"given"`
	// From and To are the folders of the old and the new programs. Without From there is
	// no way back.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
	// FromKubernetes and ToKubernetes are their versions, Version ours of the new ones.
	FromKubernetes string `json:"fromKubernetes,omitempty"`
	ToKubernetes   string `json:"toKubernetes,omitempty"`
	Version        string `json:"version,omitempty"`
	// Emulate is the minor that the new ones emulate until the last step, or empty.
	Emulate string `json:"emulate,omitempty"`
	// Lifted: some process did not emulate, so objects may be stored as the old programs
	// cannot read them.
	Lifted bool `json:"lifted,omitempty"`
}

// back tells whether the old programs may still take over.
func (m *memory) back() bool { return m != nil && m.From != "" && !m.Lifted }

// rolledBack is what is remembered once all processes are old again.
func (m *memory) rolledBack() *memory {
	if m.From == m.Given {
		return nil
	}
	return &memory{State: upgradeDone, Given: m.Given, To: m.From, ToKubernetes: m.FromKubernetes}
}

func readMemory(dir datadir.Dir) (*memory, error) {
	data, err := os.ReadFile(dir.Upgrade())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil // and what is wrong with the folder is told by who opens it
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell which programs to run: %w", err)
	}
	m := &memory{}
	if err := json.Unmarshal(data, m); err != nil || m.To == "" {
		return nil, fmt.Errorf("cannot tell which programs to run: %s is damaged: remove it to run those of --bin-dir", dir.Upgrade())
	}
	return m, nil
}

// remember makes m what is known of the upgrade, now and after a crash; nil forgets.
func (s *setup) remember(m *memory) error {
	if m == nil {
		s.memory.Store(nil)
		if err := os.Remove(s.dir.Upgrade()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = datadir.WriteFile(s.dir.Upgrade(), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot remember the upgrade: %w", err)
	}
	s.memory.Store(m)
	return nil
}

// recall says which programs to start with, given that the flags name those of dir.
// What an upgrade has brought counts as long as the flags are those from before it: who
// names another folder since, chose anew.
func (s *setup) recall(dir string) (release, error) {
	m, err := readMemory(datadir.Dir{Root: s.options.DataDir})
	if err != nil || m == nil {
		return release{dir: dir}, err
	}
	of, after := m.resumed(dir)
	s.told = append(s.told, of.said...)
	s.memory.Store(after)
	return of.release, nil
}

// resumption is what a supervisor that starts makes of an upgrade before it.
type resumption struct {
	release
	said []string
}

func (m *memory) resumed(dir string) (resumption, *memory) {
	is := func(r release, said ...string) resumption { return resumption{release: r, said: said} }
	if dir != m.Given && dir != m.From && dir != m.To {
		return is(release{dir: dir}, fmt.Sprintf("upgrade: --bin-dir names %s now, so the upgrade to %s is forgotten", dir, m.To)), nil
	}
	// Whoever started the new supervisor has moved on; from before are the flags else.
	moved := dir == m.To && dir != m.Given
	if m.State == upgradeRollingBack || m.State == upgradeReplacing && !moved {
		return is(release{dir: m.From}, fmt.Sprintf("upgrade: the one to %s was interrupted before all tiers were new, so all run the programs of %s: begin it again by supervisor upgrade --bin-dir %s", m.To, m.From, m.To)), m.rolledBack()
	}
	after := *m
	after.Given, after.State = dir, upgradeDone
	next := is(release{dir: m.To})
	if dir != m.To {
		next.said = append(next.said, fmt.Sprintf("upgrade: the tiers run the programs of %s, which they were upgraded to, and not those of %s: start the supervisor of there, too", m.To, dir))
	}
	switch {
	case m.Lifted || m.Emulate == "":
		after.Emulate = ""
	default:
		// New programs, started half way too, so that there is a way back.
		after.State, next.emulate = upgradeHeld, m.Emulate
		next.said = append(next.said, fmt.Sprintf("upgrade: all tiers emulate Kubernetes %s: go on by supervisor upgrade --continue, or back by supervisor upgrade --rollback", m.Emulate))
	}
	return next, &after
}

// keepMemory writes down what the start has made of it, now that the directory is ours.
func (s *setup) keepMemory() error { return s.remember(s.memory.Load()) }
