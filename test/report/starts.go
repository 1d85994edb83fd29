package main

import (
	"fmt"
	"time"
)

// reportStarts prints the time to ready: of a new data directory, of one that
// holds certificates and data already, and of the stock server with a new etcd.
func reportStarts(dir string) error {
	var first, again, stock []time.Duration
	for i := range rounds {
		data := fmt.Sprintf("%s/start-%d", dir, i)
		for _, into := range []*[]time.Duration{&first, &again} {
			c, took, err := startOurs(data)
			if err != nil {
				return err
			}
			*into = append(*into, took)
			if err := c.Close(); err != nil {
				return err
			}
		}
		s, took, err := startStock(data + "-stock")
		if err != nil {
			return err
		}
		stock = append(stock, took)
		if err := s.Close(); err != nil {
			return err
		}
	}
	base := median(stock)
	fmt.Printf("\n| time to ready, etcd included, median of %d | | ratio |\n|---|---|---|\n", rounds)
	for _, row := range []struct {
		name  string
		times []time.Duration
	}{{"stock", stock}, {"all tiers, new data directory", first}, {"all tiers, existing data directory", again}} {
		took := median(row.times)
		fmt.Printf("| %s | %.2f s | %.2f |\n", row.name, took.Seconds(), took.Seconds()/base.Seconds())
	}
	return nil
}

func median(times []time.Duration) time.Duration { return quantile(times, 50) }
