package main

import (
	"fmt"
	"math"
	"slices"
)

// mark is what a ratio ours/stock is to reach.
type mark struct {
	// workloads it holds for; none is every.
	workloads []string
	metric    string
	// clients it holds for; 0 is any number.
	clients int
	bound   float64
	atLeast bool
}

var (
	requests = []string{"get", "get a custom resource", "list 500", "list 500 custom resources", "patch", "create"}
	marks    = []mark{
		{requests, "req/s", 16, 1, true},
		{requests, "CPU", 16, 1, false},
		{requests, "CPU, same GOGC", 16, 1.15, false},
		{requests, "p99", 16, .8, false},
		{requests, "p50", 1, 1.2, false},
		{[]string{"watch"}, "p99", 0, 1, false},
	}
)

// markOf is nil where there is no mark.
func markOf(workload, metric string, clients int) *mark {
	for i, m := range marks {
		if m.metric == metric && (m.clients == 0 || m.clients == clients) && slices.Contains(m.workloads, workload) {
			return &marks[i]
		}
	}
	return nil
}

// met goes by what is printed: a ratio of 1.00 meets a mark of 1.
func (m *mark) met(ratio float64) bool {
	rounded := math.Round(ratio*100) / 100
	return rounded == m.bound || (rounded > m.bound) == m.atLeast
}

// judged is the ratio and, if there is a mark, whether it is met.
func judged(ratio float64, m *mark) string {
	switch {
	case math.IsNaN(ratio):
		return ""
	case m == nil:
		return fmt.Sprintf("%.2f", ratio)
	}
	verdict, sign := "missed", "<="
	if m.atLeast {
		sign = ">="
	}
	if m.met(ratio) {
		verdict = "met"
	}
	return fmt.Sprintf("%.2f %s (%s %.2f)", ratio, verdict, sign, m.bound)
}
