package main

import (
	"fmt"

	"triptych.dev/triptych/test/harness"
)

// memory is that of all processes of the server but etcd.
func (s *server) memory() (sum harness.Memory, err error) {
	pids, err := s.pids()
	if err != nil {
		return sum, err
	}
	for _, pid := range pids {
		m, err := harness.MemoryOf(pid)
		if err != nil {
			return sum, err
		}
		sum.RSS, sum.Anonymous, sum.PSS = sum.RSS+m.RSS, sum.Anonymous+m.Anonymous, sum.PSS+m.PSS
	}
	return sum, nil
}

// compareMemory prints what both hold now. What they hold when idle has a mark: make report.
func compareMemory(when string, ours, stock *server) error {
	fmt.Printf("\n| memory, %s | RSS | anonymous | PSS |\n|---|---|---|---|\n", when)
	var both [2]harness.Memory
	for i, s := range []*server{ours, stock} {
		m, err := s.memory()
		if err != nil {
			return err
		}
		both[i] = m
		fmt.Printf("| %s | %s | %s | %s |\n", s.name, mebibytes(m.RSS), mebibytes(m.Anonymous), mebibytes(m.PSS))
	}
	ratio := func(ours, stock int64) float64 { return float64(ours) / float64(stock) }
	fmt.Printf("| ours/stock | %.2f | %.2f | %.2f |\n", ratio(both[0].RSS, both[1].RSS), ratio(both[0].Anonymous, both[1].Anonymous), ratio(both[0].PSS, both[1].PSS))
	return nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
