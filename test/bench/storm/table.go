package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// print writes the tables of one size.
func print(crds int, results []*result) {
	fmt.Printf("\n## %d CRDs\n\n| |%s\n|---|%s\n", crds, cells(results, func(r *result) string { return r.side }), strings.Repeat("---|", len(results)))
	for _, line := range []struct {
		name string
		of   func(*result) string
	}{
		{"GET of a ConfigMap, quiet", func(r *result) string { return r.quiet.String() }},
		{"the same during the storm", func(r *result) string { return r.during.String() }},
		{"p99 during / quiet", func(r *result) string {
			return fmt.Sprintf("%.1f", float64(r.during.p99)/float64(max(r.quiet.p99, 1)))
		}},
		{"all created", func(r *result) string { return seconds(r.created) }},
		{"all Established", func(r *result) string { return seconds(r.established) }},
		{"all in discovery", func(r *result) string { return seconds(r.discovered) }},
		{"all in OpenAPI v3", func(r *result) string { return seconds(r.described) }},
		{"calm again", func(r *result) string { return seconds(r.calmed) }},
		{"CPU, all processes but etcd", func(r *result) string { return fmt.Sprintf("%.1f s", total(r.used)) }},
		{"OpenAPI v2, once", func(r *result) string { return fmt.Sprintf("%s, %d MiB", seconds(r.merged), r.mergedBytes>>20) }},
		{"stopped", func(r *result) string { return r.stopped }},
	} {
		fmt.Printf("| %s |%s\n", line.name, cells(results, line.of))
	}
	fmt.Printf("\n| process | MiB before | peak | after | growth | CPU | peak with OpenAPI v2 |\n|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		for _, name := range slices.Sorted(maps.Keys(r.used)) {
			u := r.used[name]
			fmt.Printf("| %s: %s | %d | %d | %d | %.2f | %.1f s | %d |\n", r.side, name,
				u.before>>20, u.peak>>20, u.after>>20, float64(u.peak)/float64(max(u.before, 1)), u.cpu, r.usedMerged[name].peak>>20)
		}
	}
}

func cells(results []*result, of func(*result) string) string {
	var line strings.Builder
	for _, r := range results {
		fmt.Fprintf(&line, " %s |", of(r))
	}
	return line.String()
}

func total(used map[string]usage) (sum float64) {
	for name, u := range used {
		if name != "etcd" {
			sum += u.cpu
		}
	}
	return sum
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
