package options

import "strconv"

// Logs is what the logging flags, which are for the tiers, mean to the others.
type Logs struct {
	JSON bool
	// Verbosity and VModule are --v and --vmodule.
	Verbosity int
	VModule   string
}

// debug is the verbosity at which Kubernetes begins to tell what is of use to
// whoever debugs.
const debug = 4

// Logs reads the logging flags. What is wrong with them the tiers say.
func (o *Options) Logs() Logs {
	v, err := strconv.Atoi(o.Forwarded.Last("v"))
	if err != nil {
		v = 0
	}
	return Logs{JSON: o.Forwarded.Last("logging-format") == "json", Verbosity: v, VModule: o.Forwarded.Last("vmodule")}
}

// Level is the name of the level for who knows no numbers; empty is the default.
func (l Logs) Level() string {
	if l.Verbosity >= debug {
		return "debug"
	}
	return ""
}
