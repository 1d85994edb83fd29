package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const (
	probed = "/api/v1/namespaces/default/configmaps/probed"
	// pace is the pause between two GETs: the probe feels the load and is none.
	pace = 5 * time.Millisecond
)

// probe is one client that GETs a ConfigMap again and again.
type probe struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	times    []time.Duration
	failures int
}

func startProbe(config *rest.Config) (*probe, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &probe{cancel: cancel}
	p.done.Go(func() {
		for ctx.Err() == nil {
			p.once(ctx, client, strings.TrimSuffix(config.Host, "/")+probed)
			select {
			case <-ctx.Done():
			case <-time.After(pace):
			}
		}
	})
	return p, nil
}

func (p *probe) once(ctx context.Context, client *http.Client, url string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err) // the URL is a constant
	}
	sent := time.Now()
	answer, err := harness.Do(client, r)
	took := time.Since(sent)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = append(p.times, took)
	if err != nil || answer.Code != http.StatusOK {
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
	return fmt.Sprintf("p50 %s, p99 %s, worst %s; %d failed", milliseconds(l.p50), milliseconds(l.p99), milliseconds(l.worst), l.failures)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
