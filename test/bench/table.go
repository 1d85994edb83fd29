package main

import (
	"fmt"
	"time"
)

// row is one workload with some number of clients.
type row struct {
	workload    string
	clients     int
	ours, stock *measured
}

// ratio is ours/stock of what f tells.
func (r row) ratio(f func(m *measured) float64) float64 { return f(r.ours) / f(r.stock) }

func latency(quantile float64) func(m *measured) float64 {
	return func(m *measured) float64 { return float64(m.at(quantile)) }
}

// String is a line of the table.
func (r row) String() string {
	return fmt.Sprintf("| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f | %.0f us | %s | %s |", r.workload,
		r.ratio((*measured).rate), r.ratio((*measured).perRequest), r.ratio(latency(.5)), r.ratio(latency(.9)), r.ratio(latency(.99)),
		r.stock.rate(), r.stock.perRequest()*1e6, milliseconds(r.stock.at(.5)), milliseconds(r.stock.at(.99)))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
