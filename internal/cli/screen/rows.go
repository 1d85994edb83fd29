package screen

import (
	"cmp"
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/vitals"
)

// row is one line of the table: a tier of several replicas, a replica, or etcd.
type row struct {
	// name is by which events and logs know it, indented by how deep it is.
	name   string
	indent int
	// tier: it is the sum of several.
	tier bool
	// replica is nil of a tier, and of etcd.
	replica *vitals.Replica
	stage   string
	pid     int
	load    vitals.Load
}

// rowsOf are the rows of a sample: a tier, and below it its replicas; of a tier with a single one that alone.
func rowsOf(s vitals.Sample) []row {
	var rows []row
	for _, t := range s.Tiers {
		indent := 0
		if len(t.Replicas) != 1 {
			rows = append(rows, row{name: t.Name, tier: true, stage: tally(t.Replicas), load: t.Load})
			indent = 1
		}
		for _, r := range t.Replicas {
			rows = append(rows, row{name: r.Name, indent: indent, replica: &r, stage: r.Stage, pid: r.PID, load: r.Load})
		}
	}
	if e := s.Etcd; e.Embedded {
		stage := "away"
		switch {
		case e.Full:
			stage = "full"
		case e.SizeBytes != nil:
			stage = "ready"
		case e.PID != 0:
			stage = "starting"
		}
		rows = append(rows, row{name: "etcd", stage: stage, pid: e.PID, load: vitals.Load{CPUPercent: e.CPUPercent, MemoryBytes: e.MemoryBytes}})
	}
	return rows
}

// tally says how many of the replicas are ready.
func tally(replicas []vitals.Replica) string {
	ready := 0
	for _, r := range replicas {
		if r.Stage == "ready" {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d ready", ready, len(replicas))
}

// column is one of the table.
type column struct {
	title string
	// width is that of its cells on the screen. Those of text stand left.
	width int
	text  bool
	// from is how wide the screen has to be for it to be shown.
	from int
	cell func(row) string
	// style is that of its cells; nil is none.
	style func(row) lipgloss.Style
	// key is by which rows are sorted, the larger first; nil if they are not.
	key func(row) float64
}

// columns in their order on the screen.
var columns = []column{
	{title: "REPLICA", width: 15, text: true, cell: func(r row) string { return strings.Repeat("  ", r.indent) + r.name }},
	{title: "PID", width: 7, from: 104, cell: func(r row) string {
		if r.pid == 0 {
			return nothing
		}
		return fmt.Sprint(r.pid)
	}},
	{title: "STAGE", width: 11, text: true, cell: stage, style: stageStyle},
	{title: "REQ/S", width: 5, cell: func(r row) string { return rate(r.load.RequestsPerSecond) }, key: func(r row) float64 { return of(r.load.RequestsPerSecond) }},
	{title: "ERR/S", width: 5, from: 104, cell: func(r row) string { return rate(r.load.ErrorsPerSecond) }, key: func(r row) float64 { return of(r.load.ErrorsPerSecond) }, style: errorStyle},
	{title: "P99", width: 5, cell: func(r row) string { return latency(r.load.LatencyP99Seconds) }, key: func(r row) float64 { return of(r.load.LatencyP99Seconds) }},
	{title: "INFL", width: 4, cell: func(r row) string { return number(r.load.InFlight) }, key: func(r row) float64 { return whole(r.load.InFlight) }},
	{title: "WATCH", width: 5, cell: func(r row) string { return number(r.load.Watches) }, key: func(r row) float64 { return whole(r.load.Watches) }},
	{title: "FWD/S", width: 5, cell: func(r row) string { return rate(r.load.ForwardedPerSecond) }, key: func(r row) float64 { return of(r.load.ForwardedPerSecond) }},
	{title: "HOP", width: 5, from: 88, cell: func(r row) string { return latency(r.load.HopP99Seconds) }, key: func(r row) float64 { return of(r.load.HopP99Seconds) }},
	{title: "ETCD", width: 5, from: 120, cell: func(r row) string { return latency(r.load.StorageP99Seconds) }, key: func(r row) float64 { return of(r.load.StorageP99Seconds) }},
	{title: "CPU%", width: 5, cell: func(r row) string { return percent(r.load.CPUPercent) }, key: func(r row) float64 { return of(r.load.CPUPercent) }},
	{title: "MEM", width: 5, cell: func(r row) string { return size(r.load.MemoryBytes) }, key: func(r row) float64 { return whole(r.load.MemoryBytes) }},
	{title: "FILES", width: 5, from: 120, cell: ofReplica(func(r vitals.Replica) string { return number(r.OpenFiles) })},
	{title: "THR", width: 3, from: 120, cell: ofReplica(func(r vitals.Replica) string { return number(r.Threads) })},
	{title: "RST", width: 3, cell: restarts, key: func(r row) float64 {
		if r.replica == nil {
			return 0
		}
		return float64(r.replica.Restarts)
	}},
	{title: "UP", width: 6, cell: ofReplica(func(r vitals.Replica) string { return age(r.UptimeSeconds) })},
	{title: "LAST EXIT", width: 24, text: true, from: 140, cell: ofReplica(func(r vitals.Replica) string { return ending(r.LastExit) })},
}

// stage is without by whom a process was stopped: a note says that, and there is no room for it.
func stage(r row) string { return strings.TrimSuffix(r.stage, " by operator") }

func stageStyle(r row) lipgloss.Style {
	ready, all, several := strings.Cut(strings.TrimSuffix(r.stage, " ready"), "/")
	switch {
	case r.stage == "ready" || several && ready == all:
		return good
	case r.stage == "backoff" || r.stage == "failed" || r.stage == "away" || r.stage == "full":
		return bad
	}
	return warning
}

func errorStyle(r row) lipgloss.Style {
	if of(r.load.ErrorsPerSecond) > 0 {
		return bad
	}
	return lipgloss.NewStyle()
}

func restarts(r row) string {
	if r.replica == nil || r.replica.Remote {
		return nothing
	}
	return fmt.Sprint(r.replica.Restarts)
}

// ofReplica is a cell that only replicas have.
func ofReplica(cell func(vitals.Replica) string) func(row) string {
	return func(r row) string {
		if r.replica == nil {
			return nothing
		}
		return cell(*r.replica)
	}
}

// ending says how a process ended, and why.
func ending(e *control.Exit) string {
	if e == nil {
		return nothing
	}
	how := cmp.Or(e.Signal, fmt.Sprintf("code %d", e.Code))
	if e.Reason == "" {
		return how
	}
	return how + ": " + e.Reason
}

// of is a number to sort by: what is not known comes last.
func of(n *float64) float64 {
	if n == nil {
		return -1
	}
	return *n
}

func whole(n *int64) float64 {
	if n == nil {
		return -1
	}
	return float64(*n)
}
