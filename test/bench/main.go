// Command bench compares the speed of Triptych with that of the stock
// kube-apiserver on this machine: both run, each with an etcd of its own, and take
// turns window by window, so that what else the machine does hits both. It prints
// Markdown, with ratios ours/stock, and writes plots as SVG.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"time"

	"triptych.dev/triptych/test/harness"
)

// settings are the command line.
type settings struct {
	window  time.Duration
	rounds  int
	clients []int
	only    *regexp.Regexp
	http1   bool
	plots   string
}

func main() {
	harness.ChildMain()
	s := settings{}
	flag.DurationVar(&s.window, "window", 1500*time.Millisecond, "how long one server is loaded at a time")
	flag.IntVar(&s.rounds, "rounds", 3, "windows of each server for each row")
	flag.BoolVar(&s.http1, "http1", false, "speak HTTP/1.1 instead of HTTP/2")
	flag.StringVar(&s.plots, "plots", "", "folder to write SVG plots to")
	long := flag.Bool("long", false, "64 clients too, and three times the rounds")
	only := flag.String("only", "", "regular expression of the workloads to run")
	flag.Parse()
	s.clients = []int{1, 16}
	if *long {
		s.clients, s.rounds = []int{1, 16, 64}, 3*s.rounds
	}
	var err error
	if s.only, err = regexp.Compile(*only); err == nil {
		err = bench(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func bench(s settings) (err error) {
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ours, stock, err := start(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.close(), stock.close()) }()
	for _, sv := range []*server{ours, stock} {
		if err := sv.prepare(); err != nil {
			return fmt.Errorf("%s: %w", sv.name, err)
		}
	}
	fmt.Printf("Measured on %d cores, %s: %d windows of %s for each server and row, in turns. Ratios are ours/stock.\n",
		runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), s.rounds, s.window)
	var rows []row
	for _, clients := range s.clients {
		fmt.Printf("\n| %d clients | req/s | CPU per request | p50 | p90 | p99 | stock: req/s | CPU | p50 | p99 |\n|---|---|---|---|---|---|---|---|---|---|\n", clients)
		for _, w := range workloads {
			if !s.only.MatchString(w.name) {
				continue
			}
			r, err := compare(w, ours, stock, clients, s)
			if err != nil {
				return fmt.Errorf("%s with %d clients: %w", w.name, clients, err)
			}
			fmt.Println(r)
			rows = append(rows, r)
		}
	}
	if s.only.MatchString("watch") {
		if err := compareWatches(ours, stock); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	if s.plots != "" {
		return plot(s.plots, rows)
	}
	return nil
}
