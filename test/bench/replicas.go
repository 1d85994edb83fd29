package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// scaled is the tier that gets more processes, and what asks it for much, and the others for little.
const scaled = tier.Core

var askingCore = []string{"get", "list 500", "create"}

// scaledClients are enough to keep all processes busy.
const scaledClients = 32

// scaleBound is how long a process may take to be ready on a tenth of a CPU.
const scaleBound = 5 * time.Minute

// step is what ours did with so many processes of the tier.
type step struct {
	replicas int
	// by workload.
	by map[string]*measured
	// cpu is how much of the CPUs the processes of the tier took, by workload, in CPUs.
	cpu map[string]float64
}

// scale measures ours with one process more of the tier after the other, each held to the same part of a CPU, so that
// the machine has enough for all of them, and plots it to s.plots.
func scale(dir string, s settings) (err error) {
	ours, err := startOurs(dir+"/ours", append([]string{fmt.Sprintf("--cpu-limit=%s=%s", scaled, s.cpu)}, s.flags...))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.close()) }()
	if err := ours.held(); err != nil {
		return err
	}
	if err := ours.prepare(); err != nil {
		return err
	}
	fmt.Printf("Measured on %d cores, %s: processes of %s, each held to %s of a CPU; %d clients, which connect anew for each row; %d windows of %s.\n\n",
		runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), scaled, s.cpu, scaledClients, s.rounds, s.window)
	fmt.Printf("| %s | requests | req/s | to 1 | p50 | p99 | CPU of %[1]s |\n|---|---|---|---|---|---|---|\n", scaled)
	var steps []step
	for n := 1; n <= s.replicas; n++ {
		if err := ours.grownTo(n); err != nil {
			return err
		}
		now, err := measureStep(ours, n, s)
		if err != nil {
			return err
		}
		steps = append(steps, now)
		for _, name := range now.workloads() {
			m := now.by[name]
			fmt.Printf("| %d | %s | %.0f | %.2f | %s | %s | %.2f |\n", n, name, m.median(rate), m.median(rate)/steps[0].by[name].median(rate),
				milliseconds(m.median(latency(.5))), milliseconds(m.median(latency(.99))), now.cpu[name])
		}
	}
	if s.plots == "" {
		return nil
	}
	if err := os.MkdirAll(s.plots, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.plots, "replicas.svg"), []byte(svgOfSteps(steps, s.cpu)), 0o644)
}

// held says so if this machine holds no process to its limit: there would be nothing to see.
func (s *server) held() error {
	status, _, err := s.cluster.Status()
	if err != nil {
		return err
	}
	if status.Replica(string(scaled)).CPULimitMillis == 0 {
		return errors.New("this machine holds no process to a part of a CPU: run this as root, or where cgroups are delegated")
	}
	return nil
}

// grownTo has the tier have n processes, and tells of requests that failed meanwhile.
func (s *server) grownTo(n int) error {
	if n == 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), scaleBound)
	defer cancel()
	load, err := harness.StartLoad(s.config, 2, []string{configs + "/one?resourceVersion=0"}, harness.IsOK)
	if err != nil {
		return err
	}
	_, stderr, code := s.cluster.Supervisor(ctx, "scale", fmt.Sprintf("%s=%d", scaled, n))
	seen := load.Stop()
	if code != 0 {
		return fmt.Errorf("supervisor scale exits with %d: %s", code, stderr)
	}
	if len(seen.Failures) > 0 {
		return fmt.Errorf("%d requests failed while %s got process %d, and %d did not: %s", len(seen.Failures), scaled, n, seen.OK(), seen.Failures[0])
	}
	return nil
}

func measureStep(s *server, n int, set settings) (step, error) {
	now := step{replicas: n, by: map[string]*measured{}, cpu: map[string]float64{}}
	status, _, err := s.cluster.Status()
	if err != nil {
		return now, err
	}
	var pids []int
	for _, t := range status.Tiers {
		for _, r := range t.Replicas {
			if t.Name == string(scaled) {
				pids = append(pids, r.PID)
			}
		}
	}
	for _, w := range workloads {
		if !slices.Contains(askingCore, w.name) || !set.only.MatchString(w.name) {
			continue
		}
		crowd, err := newCrowd(w, s, scene{clients: scaledClients})
		if err != nil {
			return now, err
		}
		now.by[w.name] = &measured{}
		if now.cpu[w.name], err = crowd.windows(now.by[w.name], pids, set); err != nil {
			return now, fmt.Errorf("%s with %d of %s: %w", w.name, n, scaled, err)
		}
		crowd.leave()
	}
	return now, nil
}

// windows has the crowd fill m, and returns how much of the CPUs the processes took.
func (c *crowd) windows(m *measured, pids []int, s settings) (cpus float64, err error) {
	if _, err := c.window(s.window / 2); err != nil {
		return 0, err
	}
	before, err := cpuOf(pids)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for range s.rounds {
		w, err := c.window(s.window)
		if err != nil {
			return 0, err
		}
		m.windows = append(m.windows, w)
	}
	after, err := cpuOf(pids)
	return (after - before) / time.Since(began).Seconds(), err
}

// workloads are the names of what was measured, in the order of askingCore.
func (s step) workloads() (names []string) {
	for _, name := range askingCore {
		if s.by[name] != nil {
			names = append(names, name)
		}
	}
	return names
}

// svgOfSteps plots req/s by processes, as multiples of what one does, beside as many times as there are processes.
func svgOfSteps(steps []step, cpu string) string {
	const left, top, width, height = 50.0, 50.0, 420.0, 300.0
	colors := []string{"#4477aa", "#ee6677", "#228833"}
	most := float64(len(steps))
	for _, s := range steps {
		for _, name := range s.workloads() {
			most = math.Max(most, s.by[name].median(rate)/steps[0].by[name].median(rate))
		}
	}
	x := func(replicas int) float64 { return left + width*float64(replicas-1)/math.Max(1, float64(len(steps)-1)) }
	y := func(times float64) float64 { return top + height*(1-times/most) }
	b := &strings.Builder{}
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="600" height="400" font-family="sans-serif" font-size="12">`+"\n")
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="white"/><text x="10" y="20">req/s by processes of %s, each on %s of a CPU; one process is 1</text>`+"\n", scaled, cpu)
	for i := range len(steps) {
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle">%d</text><text x="%.0f" y="%.0f" text-anchor="end">%[3]d</text>`+"\n", x(i+1), top+height+20, i+1, left-10, y(float64(i+1))+4)
	}
	fmt.Fprintf(b, `<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" stroke="gray" stroke-dasharray="4"/>`+"\n", x(1), y(1), x(len(steps)), y(float64(len(steps))))
	for i, name := range steps[0].workloads() {
		var points []string
		for _, s := range steps {
			times := s.by[name].median(rate) / steps[0].by[name].median(rate)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(s.replicas), y(times)))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(s.replicas), y(times), colors[i])
		}
		last := steps[len(steps)-1]
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s"/><text x="%.0f" y="%.0f" fill="%s">%s: %.0f to %.0f</text>`+"\n", strings.Join(points, " "), colors[i],
			left+20, top+16*float64(i+1), colors[i], name, steps[0].by[name].median(rate), last.by[name].median(rate))
	}
	return b.String() + "</svg>\n"
}
