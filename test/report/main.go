// Command report measures what three processes cost beside one, on this machine
// and in one run: absolute figures drift, ratios less so. It prints Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"triptych.dev/triptych/test/harness"
)

const (
	// rounds of each start, alternating between ours and stock.
	rounds = 3
	// settle is how long servers idle before their memory is read.
	settle = 30 * time.Second
)

func main() {
	harness.ChildMain()
	only := flag.String("only", "", "print one part: starts, sandbox, memory, openapi, discovery, revocations, rights or kills")
	flag.Parse()
	if err := report(*only); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func report(only string) error {
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("Measured on %d cores, %s.\n", runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	for _, part := range []struct {
		name  string
		print func(dir string) error
	}{{"starts", reportStarts}, {"sandbox", reportSandbox}} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.print(dir); err != nil || only != "" {
			return err
		}
	}
	return reportRunning(dir, only)
}

// pair are the two that are compared.
type pair struct {
	ours  *harness.Cluster
	stock *harness.Stock
}

func startPair(dir string) (*pair, error) {
	p := &pair{}
	var err error
	if p.ours, _, err = startOurs(dir + "/ours"); err != nil {
		return nil, err
	}
	p.stock, _, err = startStock(dir + "/stock")
	return p, err
}

func (p *pair) close() error {
	var err error
	if p.stock != nil {
		err = p.stock.Close()
	}
	return errors.Join(p.ours.Close(), err)
}

// startOurs returns how long it took until every tier was ready.
func startOurs(dir string, args ...string) (*harness.Cluster, time.Duration, error) {
	c, err := harness.Launch(harness.Options{Dir: dir, Args: args})
	if err != nil {
		return nil, 0, err
	}
	err = harness.Await(context.Background(), harness.StartBound, "Ready", func() error {
		return c.Output.Contains("phase: Ready")
	})
	took := time.Since(c.Started)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%w\n%s", err, c.Output), c.Close())
	}
	return c, took, nil
}

// startStock returns how long it took, etcd included and its PKI not.
func startStock(dir string) (*harness.Stock, time.Duration, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	s, err := harness.LaunchStock(dir)
	if err != nil {
		return nil, 0, err
	}
	if err := s.AwaitReady(); err != nil {
		return nil, 0, errors.Join(err, s.Close())
	}
	return s, time.Since(began), nil
}
