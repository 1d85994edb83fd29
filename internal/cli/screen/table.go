// Package screen shows how a control plane does: as a full screen that goes on, or one sample as a table.
package screen

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"triptych.dev/triptych/internal/supervisor/vitals"
)

// Table prints one sample with all columns, for those who have no terminal.
func Table(w io.Writer, s vitals.Sample) error {
	for _, line := range append(heading(s), s.Notes...) {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	var titles []string
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	fmt.Fprintln(t, strings.Join(titles, "\t"))
	for _, r := range rowsOf(s) {
		var cells []string
		for _, c := range columns {
			cells = append(cells, c.cell(r))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// heading is two lines about the whole; the second has 80 columns at most.
func heading(s vitals.Sample) []string {
	etcd := "etcd of your own"
	if s.Etcd.Embedded {
		etcd = "etcd"
	}
	if s.Etcd.SizeBytes != nil {
		etcd += " " + size(s.Etcd.SizeBytes)
	}
	if s.Etcd.QuotaBytes != nil {
		etcd += " of " + size(s.Etcd.QuotaBytes)
	}
	if s.Etcd.Full {
		etcd += ", FULL"
	}
	t := s.Total
	return []string{
		strings.Join([]string{s.Phase, cmp.Or(s.Version, nothing), s.SecureURL, etcd}, "  "),
		strings.Join([]string{
			rate(t.RequestsPerSecond) + " req/s", rate(t.ErrorsPerSecond) + " err/s",
			"p99 " + latency(t.LatencyP99Seconds), number(t.InFlight) + " in flight", number(t.Watches) + " watches",
			"CPU " + percent(t.CPUPercent) + "%", size(t.MemoryBytes),
		}, "  "),
	}
}
