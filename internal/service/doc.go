// Package service is the supervisor as a service of a machine: where its programs, units, users and folders
// are, and how they come and go.
package service

// Where things are on a machine, below its root.
const (
	Programs   = "/usr/local/lib/triptych"
	Command    = "/usr/local/bin/supervisor"
	Units      = "/etc/systemd/system"
	Users      = "/etc/sysusers.d/triptych.conf"
	Man        = "/usr/local/share/man/man8"
	Completion = "/usr/local/share/bash-completion/completions/supervisor"
	Flags      = "/etc/default/triptych"
	Settings   = "/etc/triptych"
	Data       = "/var/lib/triptych"
	// Unit is the service of all tiers.
	Unit = "triptych.service"
)

// What became of a path.
const (
	Made      = "made"
	Changed   = "changed"
	Unchanged = "unchanged"
	// Kept: there is something of somebody else's, or data.
	Kept    = "kept"
	Removed = "removed"
	Absent  = "absent"
)

// Step is what became of one path, as the machine calls it.
type Step struct {
	Path   string `json:"path"`
	Action string `json:"action"`
}

// Host is a machine, or a folder with the files of one.
type Host struct {
	// Root is / or the folder.
	Root string
	// Dry says what would become of everything, and changes nothing.
	Dry bool

	steps []Step
}
