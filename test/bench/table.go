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
	ratios := r.marked()
	judge := func(metric string) string {
		return judged(ratios[metric], markOf(r.workload, metric, r.scene.clients))
	}
	of := r.stock().median
	cells := []string{
		r.workload,
		judge("req/s"), spread(r.ratios(1, rate)),
		judge("CPU"), spread(r.ratios(1, perRequest)), judge("CPU, same GOGC"),
		judge("p50"), judge("p90"), judge("p99"),
		fmt.Sprintf("%.0f", of(rate)), fmt.Sprintf("%.0f us", of(perRequest)*1e6),
		milliseconds(of(latency(.5))), milliseconds(of(latency(.9))), milliseconds(of(latency(.99))),
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// judgements are how many marks of all rows are met, and which are missed.
func judgements(rows []row) string {
	met, missed := 0, []string{}
	for _, r := range rows {
		for metric, ratio := range r.marked() {
			switch m := markOf(r.workload, metric, r.scene.clients); {
			case m == nil || math.IsNaN(ratio):
			case m.met(ratio):
				met++
			default:
				missed = append(missed, fmt.Sprintf("%s of %s with %s", metric, r.workload, r.scene))
			}
		}
	}
	slices.Sort(missed)
	return fmt.Sprintf("Marks of requests: %d met, %d missed: %s.", met, len(missed), strings.Join(missed, "; "))
}

// marked are the ratios that can have a mark, by the metric's name.
func (r row) marked() map[string]float64 {
	return map[string]float64{
		"req/s": r.ratio(rate), "CPU": r.ratio(perRequest), "CPU, same GOGC": median(r.ratios(2, perRequest)),
		"p50": r.ratio(latency(.5)), "p90": r.ratio(latency(.9)), "p99": r.ratio(latency(.99)),
	}
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
