// Package deploy is what a machine that runs the supervisor as a service is given beside the programs.
package deploy

import "embed"

// Systemd is the folder systemd: the units, their users, and examples of files for one tier each.
//
//go:embed systemd
var Systemd embed.FS
