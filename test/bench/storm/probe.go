package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

const (
	probed = "/api/v1/namespaces/default/configmaps/probed"
	// pace is the pause between two GETs: the probe feels the load and is none.
	pace = 5 * time.Millisecond
	// probeEnv makes this program a probe of the kubeconfig that it names.
	probeEnv = "TRIPTYCH_STORM_PROBE"
)

// probeMain GETs a ConfigMap again and again, and prints for each how long it took and whether it was
// answered, until nobody reads that any more. It is a process of its own: who creates CRDs is busy, and
// must not be taken for a slow server.
func probeMain(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	for {
		r, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(config.Host, "/")+probed, nil)
		if err != nil {
			return err
		}
		sent := time.Now()
		answer, err := harness.Do(client, r)
		if _, err := fmt.Println(int64(time.Since(sent)), err == nil && answer.Code == http.StatusOK); err != nil {
			return nil
		}
		time.Sleep(pace)
	}
}

// probe is such a process.
type probe struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	times    []time.Duration
	failures int
}

func startProbe(kubeconfig string) (*probe, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, self)
	cmd.Env, cmd.Stderr = append(os.Environ(), probeEnv+"="+kubeconfig), os.Stderr
	lines, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	p := &probe{cancel: cancel}
	p.done.Go(func() {
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			p.saw(scanner.Text())
		}
		_ = cmd.Wait() // it was killed
	})
	return p, nil
}

func (p *probe) saw(line string) {
	var took time.Duration
	var fine bool
	if _, err := fmt.Sscan(line, (*int64)(&took), &fine); err != nil {
		return // the last, cut short
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = append(p.times, took)
	if !fine {
		p.failures++
	}
}

// latencies are what a probe saw in some time.
type latencies struct {
	requests, failures int
	p50, p99, worst    time.Duration
}

// take returns what was seen since the last time.
func (p *probe) take() latencies {
	p.mu.Lock()
	times, failures := p.times, p.failures
	p.times, p.failures = nil, 0
	p.mu.Unlock()
	if len(times) == 0 {
		return latencies{}
	}
	slices.Sort(times)
	at := func(quantile float64) time.Duration { return times[int(float64(len(times)-1)*quantile)] }
	return latencies{len(times), failures, at(.5), at(.99), at(1)}
}

func (p *probe) stop() {
	p.cancel()
	p.done.Wait()
}

func (l latencies) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, worst %s; %d of %d failed", milliseconds(l.p50), milliseconds(l.p99), milliseconds(l.worst), l.failures, l.requests)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
