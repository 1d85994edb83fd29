package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// table is what docs/explanation/faults.md shows of rounds: a row for each fault and server.
func table(rounds []*Round) string {
	rows := map[[2]string][]*Round{}
	for _, r := range rounds {
		key := [2]string{r.Fault, r.Server}
		rows[key] = append(rows[key], r)
	}
	keys := slices.SortedFunc(maps.Keys(rows), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	out := &strings.Builder{}
	out.WriteString("| fault | server | runs | void | requests | failed, by kind | recovery p50 | p99 | max | budget | lost writes | watch gaps | 410 | findings |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, key := range keys {
		out.WriteString(row(rows[key]))
	}
	return out.String()
}

func row(rounds []*Round) string {
	var recovery []time.Duration
	sum, void := Round{Failed: map[string]int{}}, 0
	for _, r := range rounds {
		recovery = append(recovery, r.Recovery)
		sum.Requests += r.Requests
		sum.Lost += r.Lost
		sum.Gaps += r.Gaps
		sum.Relists += r.Relists
		sum.Budget = max(sum.Budget, r.Budget)
		sum.Problems = append(sum.Problems, r.Problems...)
		for kind, n := range r.Failed {
			sum.Failed[kind] += n
		}
		if r.Void != "" {
			void++
		}
	}
	slices.Sort(recovery)
	at := func(share float64) time.Duration {
		return recovery[int(share*float64(len(recovery)-1)+.5)].Round(10 * time.Millisecond)
	}
	return fmt.Sprintf("| %s | %s | %d | %d | %d | %s | %v | %v | %v | %v | %d | %d | %d | %d |\n", rounds[0].Fault, rounds[0].Server, len(rounds), void,
		sum.Requests, counts(sum.Failed), at(.5), at(.99), at(1), sum.Budget.Round(time.Second), sum.Lost, sum.Gaps, sum.Relists, len(sum.Problems))
}

func counts(failed map[string]int) string {
	var all []string
	for _, kind := range sorted(failed) {
		all = append(all, fmt.Sprintf("%s: %d", kind, failed[kind]))
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}
