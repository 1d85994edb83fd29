package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const (
	// turns are windows of requests to each, one after the other; a window is turnLength requests of one client.
	turns, turnLength = 10, 300
	turnPath          = "/api/v1/namespaces/default"
)

// guarded is one of several of ours that differ by what holds a tier back.
type guarded struct {
	name string
	args []string

	starts, requests []time.Duration
	cluster          *harness.Cluster
	client           *http.Client
	url              string
}

// reportSandbox prints what the users and the sandbox of each process cost: time to ready, and latency of a GET.
func reportSandbox(dir string) (err error) {
	sides := []*guarded{
		{name: "users and sandbox (the default)"},
		{name: "users alone", args: []string{"--sandbox=off"}},
		{name: "neither", args: []string{"--sandbox=off", "--user-range=off"}},
	}
	defer func() {
		for _, g := range sides {
			if g.cluster != nil {
				err = errors.Join(err, g.cluster.Close())
			}
		}
	}()
	for i := range rounds {
		for j, g := range sides {
			c, took, err := startOurs(fmt.Sprintf("%s/guarded-%d-%d", dir, i, j), g.args...)
			if err != nil {
				return err
			}
			g.starts = append(g.starts, took)
			if i < rounds-1 {
				if err := c.Close(); err != nil {
					return err
				}
				continue
			}
			g.cluster = c
			if err := g.connect(); err != nil {
				return err
			}
		}
	}
	for range turns {
		for _, g := range sides {
			if err := g.turn(); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	fmt.Printf("\n| held back by | ready, median of %d | ratio | GET p50 of %d | ratio | p99 | ratio |\n|---|---|---|---|---|---|---|\n", rounds, turns*turnLength)
	base := sides[len(sides)-1]
	for _, g := range sides {
		fmt.Printf("| %s | %.2f s | %.2f |", g.name, median(g.starts).Seconds(), median(g.starts).Seconds()/median(base.starts).Seconds())
		for _, percent := range []int{50, 99} {
			of, to := quantile(g.requests, percent), quantile(base.requests, percent)
			fmt.Printf(" %.2f ms | %.2f |", of.Seconds()*1000, of.Seconds()/to.Seconds())
		}
		fmt.Println()
	}
	return nil
}

func (g *guarded) connect() error {
	s, err := newSide(g.cluster.Kubeconfig)
	if err != nil {
		return err
	}
	g.url = s.config.Host + turnPath
	g.client, err = rest.HTTPClientFor(s.config)
	return err
}

// turn is one window.
func (g *guarded) turn() error {
	for range turnLength {
		began := time.Now()
		response, err := g.client.Get(g.url)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %w", response.Status, err)
		}
		g.requests = append(g.requests, time.Since(began))
	}
	return nil
}

// quantile is what percent of times are not above.
func quantile(times []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}
