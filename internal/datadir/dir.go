// Package datadir is the one directory in which everything that outlives a
// process is kept: certificates, etcd's data, logs, and what a running
// supervisor leaves for its own commands to find. It says what lies where, and
// keeps out second supervisors, directories of others and newer formats.
//
//	DIR/triptych.yaml         marker: this directory is ours, and its format
//	DIR/upgrade.json          which programs an upgrade has brought the tiers to
//	DIR/events.jsonl          what has become of each process, and why
//	DIR/admin.kubeconfig
//	DIR/pki/ DIR/pki/etcd/ DIR/pki/internal/
//	DIR/etcd/
//	DIR/restored/ DIR/migrated/  configuration that came with a snapshot or a migration
//	DIR/replaced-<time>/      what a restore or a migration took the place of
//	DIR/staging/ DIR/replace.json  while one is under way
//	DIR/snapshots/            those taken by schedule, unless they are put elsewhere
//	DIR/log/<name>.log
//	DIR/run/lock              flock of the running supervisor, its pid inside
//	DIR/run/control.sock
//	DIR/run/<replica>.wiring.json
//	DIR/run/<tier>/           copies of what its processes are handed
package datadir

import (
	"os"
	"path/filepath"
)

// Dir names what lies where below Root. It is a value without effects: commands
// that only look for a running supervisor make one without Open.
type Dir struct {
	// Root is the data directory, an absolute path once opened.
	Root string
}

// PKI is the folder of certificates and keys under kubeadm's names.
func (d Dir) PKI() string { return filepath.Join(d.Root, "pki") }

// InternalPKI is the folder of the internal CA and what it signed.
func (d Dir) InternalPKI() string { return filepath.Join(d.PKI(), "internal") }

// EtcdPKI is the folder of etcd's CA and what it signed.
func (d Dir) EtcdPKI() string { return filepath.Join(d.PKI(), "etcd") }

// Etcd is the data directory of the embedded etcd.
func (d Dir) Etcd() string { return filepath.Join(d.Root, "etcd") }

// Snapshots is where snapshots are put that are taken by schedule.
func (d Dir) Snapshots() string { return filepath.Join(d.Root, "snapshots") }

// Log is the folder of log files.
func (d Dir) Log() string { return filepath.Join(d.Root, "log") }

// Run is the folder of what only lives as long as a supervisor.
func (d Dir) Run() string { return filepath.Join(d.Root, "run") }

// Kubeconfig is the administrator's kubeconfig.
func (d Dir) Kubeconfig() string { return filepath.Join(d.Root, "admin.kubeconfig") }

// Upgrade is what is to be remembered of the last upgrade.
func (d Dir) Upgrade() string { return filepath.Join(d.Root, "upgrade.json") }

// Events is the file of package events.
func (d Dir) Events() string { return filepath.Join(d.Root, "events.jsonl") }

// Control is the supervisor's control socket.
func (d Dir) Control() string { return filepath.Join(d.Run(), "control.sock") }

// HopSocket is the unix socket of a replica's hop.
func (d Dir) HopSocket(replica string) string { return filepath.Join(d.Run(), replica+".sock") }

// Lock is the file that the running supervisor holds a flock on.
func (d Dir) Lock() string { return filepath.Join(d.Run(), "lock") }

// Wiring is the wiring file of a replica such as "core-0".
func (d Dir) Wiring(replica string) string {
	return filepath.Join(d.Run(), replica+".wiring.json")
}

// RemoveWiring removes the wiring file of a replica that is gone for good.
func (d Dir) RemoveWiring(replica string) error { return os.Remove(d.Wiring(replica)) }

// LogFile is the log of a tier, or of "etcd" or "supervisor".
func (d Dir) LogFile(name string) string { return filepath.Join(d.Log(), name+".log") }

// Marked tells whether the directory is a supervisor's.
func (d Dir) Marked() bool {
	_, err := os.Stat(d.marker())
	return err == nil
}

func (d Dir) marker() string { return filepath.Join(d.Root, markerName) }

func (d Dir) folders() []string {
	return []string{d.Root, d.PKI(), d.InternalPKI(), d.EtcdPKI(), d.Etcd(), d.Log(), d.Run()}
}
