package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// row is one workload in one scene.
type row struct {
	workload string
	scene    scene
	// sides are what ours, stock and perhaps stock with our GOGC did.
	sides []*measured
}

func (r row) ours() *measured  { return r.sides[0] }
func (r row) stock() *measured { return r.sides[1] }

// ratios are ours/than of what f tells, one for each pair of windows.
func (r row) ratios(than int, f metric) (all []float64) {
	if than >= len(r.sides) {
		return nil
	}
	for i, ours := range r.ours().windows {
		other := r.sides[than].windows[i]
		if len(ours.times) > 0 && len(other.times) > 0 {
			all = append(all, f(ours)/f(other))
		}
	}
	return all
}

// ratio is the median of ratios to stock.
func (r row) ratio(f metric) float64 { return median(r.ratios(1, f)) }

// median is not a number if there is none.
func median(all []float64) float64 {
	if len(all) == 0 {
		return math.NaN()
	}
	all = slices.Sorted(slices.Values(all))
	return (all[len(all)/2] + all[(len(all)-1)/2]) / 2
}

func printHead(s scene) {
	fmt.Printf("\n| %s | req/s | its spread | CPU per request | its spread | CPU, same GOGC | p50 | p90 | p99 | stock: req/s | CPU | p50 | p90 | p99 |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n", s)
}

// String is a line of the table.
func (r row) String() string {
	judge := func(ratio float64, metric string) string {
		return judged(ratio, markOf(r.workload, metric, r.scene.clients))
	}
	of := r.stock().median
	cells := []string{
		r.workload,
		judge(r.ratio(rate), "req/s"), spread(r.ratios(1, rate)),
		judge(r.ratio(perRequest), "CPU"), spread(r.ratios(1, perRequest)), judge(median(r.ratios(2, perRequest)), "CPU, same GOGC"),
		judge(r.ratio(latency(.5)), "p50"), judge(r.ratio(latency(.9)), "p90"), judge(r.ratio(latency(.99)), "p99"),
		fmt.Sprintf("%.0f", of(rate)), fmt.Sprintf("%.0f us", of(perRequest)*1e6),
		milliseconds(of(latency(.5))), milliseconds(of(latency(.9))), milliseconds(of(latency(.99))),
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// spread is the lowest and the highest ratio of a pair.
func spread(ratios []float64) string {
	if len(ratios) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f-%.2f", slices.Min(ratios), slices.Max(ratios))
}

// milliseconds shows nanoseconds.
func milliseconds(d float64) string { return fmt.Sprintf("%.1f ms", d/float64(time.Millisecond)) }
