// Command storm measures what a burst of CustomResourceDefinitions does to everybody
// else: how long the GET of a ConfigMap takes meanwhile, and what each process grows
// to. It runs ours and then stock, never both at once, and prints Markdown.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"triptych.dev/triptych/test/harness"
)

// settings are the command line.
type settings struct {
	// sizes are how many CRDs the storms have.
	sizes      []int
	properties int
	writers    int
	// quiet is how long the latency before the storm is measured.
	quiet time.Duration
	// ceiling is how many bytes all processes of a side may have together.
	ceiling int64
	sides   []string
	// flags are further flags of ours.
	flags []string
}

func main() {
	harness.ChildMain()
	if kubeconfig := os.Getenv(probeEnv); kubeconfig != "" {
		exitOn(probeMain(kubeconfig))
		return
	}
	s := settings{}
	flag.IntVar(&s.properties, "properties", 200, "properties of the schema of each CRD")
	flag.IntVar(&s.writers, "writers", 4, "how many clients create CRDs")
	flag.DurationVar(&s.quiet, "quiet", 10*time.Second, "how long to measure before the storm")
	gigabytes := flag.Int64("ceiling", 16, "GiB at which a side is killed, all of its processes together")
	sizes := flag.String("crds", "500,2000", "how many CRDs, one run for each number")
	only := flag.String("only", "ours,stock", "which sides to run, in this order")
	flags := flag.String("flags", "", "further flags of our supervisor, separated by spaces")
	flag.Parse()
	s.ceiling, s.sides, s.flags = *gigabytes<<30, strings.Split(*only, ","), strings.Fields(*flags)
	var err error
	if s.sizes, err = numbers(*sizes); err == nil {
		err = bench(s)
	}
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func numbers(list string) (all []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-crds=%s is no list of numbers", list)
		}
		all = append(all, n)
	}
	return all, nil
}

func bench(s settings) error {
	fmt.Printf("Measured on %d cores, %s: CRDs of %d properties, created by %d clients; one client that GETs a ConfigMap. Memory is RSS.\n",
		runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), s.properties, s.writers)
	for _, crds := range s.sizes {
		var results []*result
		for _, side := range s.sides {
			r, err := run(side, crds, s)
			if err != nil {
				return fmt.Errorf("%s, %d CRDs: %w", side, crds, err)
			}
			results = append(results, r)
		}
		print(crds, results)
	}
	return nil
}

// run has one side through one storm.
func run(side string, crds int, s settings) (r *result, err error) {
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	start, known := map[string]func(string, []string) (*server, error){"ours": startOurs, "stock": startStock}[side]
	if !known {
		return nil, fmt.Errorf("-only names %q: want ours or stock", side)
	}
	sv, err := start(dir, s.flags)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sv.close()) }()
	return storm(sv, crds, s)
}
