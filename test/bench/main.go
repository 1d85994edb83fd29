// Command bench compares the speed of Triptych with that of the stock
// kube-apiserver on this machine: both run, each with an etcd of its own, and take
// turns window by window, so that what else the machine does hits both. It prints
// Markdown, with ratios ours/stock and the marks, and writes plots as SVG. It fails
// when the two answer differently. docs/explanation/benchmarks.md says how to read it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/test/harness"
)

// settings are the command line.
type settings struct {
	window time.Duration
	rounds int
	long   bool
	only   *regexp.Regexp
	plots  string
	// gogc is that of the second stock server; 0 is no second one.
	gogc   int
	growth bool
	flags  []string // of our supervisor
	itself bool     // compare with ours without flags, in the place of stock
	// record is a file for a profile of ours; empty: compare.
	record string
	// replicas is up to how many processes of core are measured, each held to cpu of a CPU; 0: compare.
	replicas int
	cpu      string
	// budget bounds one server on one axis of growth.
	budget time.Duration
}

func main() {
	harness.ChildMain()
	s := settings{}
	flag.DurationVar(&s.window, "window", time.Second, "how long one server is loaded at a time")
	flag.IntVar(&s.rounds, "rounds", 3, "windows of each server for each row")
	flag.StringVar(&s.plots, "plots", "", "folder to write SVG plots to")
	flag.IntVar(&s.gogc, "gogc", process.BusyGOGC, "GOGC of a second stock server, by default what our tiers run with while they are busy; 0: none")
	flag.BoolVar(&s.long, "long", false, "every workload with 1, 16 and 64 clients, over HTTP/2 and HTTP/1.1, and three times the rounds; growth to the end")
	flag.BoolVar(&s.growth, "growth", false, "measure how both grow with objects, watchers and CRDs instead")
	flag.DurationVar(&s.budget, "budget", 4*time.Minute, "how long one server may take to grow with one of them; five times that with -long")
	flag.StringVar(&s.record, "record", "", "file to write a CPU profile of our tiers under load to, instead of comparing")
	flag.IntVar(&s.replicas, "replicas", 0, "measure with one to so many processes of core instead, each held to -cpu")
	flag.StringVar(&s.cpu, "cpu", "100m", "how much of a CPU each of these may take")
	only := flag.String("only", "", "regular expression of what to run: workloads, watch, exec; with -growth objects, watchers, CRDs")
	flag.BoolVar(&s.itself, "itself", false, "compare with our supervisor without -flags instead of stock: say ours without them where it says stock")
	flags := flag.String("flags", "", "flags of our supervisor, such as '--hop-transport=unix'")
	flag.Parse()
	s.flags = strings.Fields(*flags)
	if s.long {
		s.rounds, s.budget = 3*s.rounds, 5*s.budget
	}
	var err error
	if s.only, err = regexp.Compile(*only); err == nil {
		err = run(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	if err := raiseDescriptors(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.record != "" {
		return record(dir, s.record, s)
	}
	if s.replicas > 0 {
		return scale(dir, s)
	}
	if s.growth {
		return grow(dir, s)
	}
	return bench(dir, s)
}

// raiseDescriptors lets this process, and those that it starts, have as many
// connections as the machine allows.
func raiseDescriptors() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

func bench(dir string, s settings) (err error) {
	all, err := startAll(dir, s)
	defer func() {
		for _, sv := range all {
			err = errors.Join(err, sv.close())
		}
	}()
	if err != nil {
		return err
	}
	ours, stock := all[0], all[1]
	fmt.Printf("Measured on %d cores, %s, against %s: %d windows of %s for each server and row, in turns. Ratios are ours/stock.\n",
		runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), names(all[1:]), s.rounds, s.window)
	if err := compareMemory("just ready", ours, stock); err != nil {
		return err
	}
	for _, sv := range all {
		if err := sv.prepare(); err != nil {
			return fmt.Errorf("%s: %w", sv.name, err)
		}
	}
	found := &differences{}
	rows, err := compareScenes(all, found, s)
	if err != nil {
		return err
	}
	if s.only.MatchString("watch") {
		if err := compareWatches(ours, stock); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	if s.only.MatchString("exec") {
		if err := compareExec(ours, stock); err != nil {
			return fmt.Errorf("exec: %w", err)
		}
	}
	if err := compareMemory("after all this", ours, stock); err != nil {
		return err
	}
	fmt.Println("\n" + judgements(rows))
	if s.plots != "" {
		err = plot(s.plots, rows)
	}
	return errors.Join(err, found.report())
}
