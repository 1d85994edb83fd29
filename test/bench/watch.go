package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const (
	watchers, writes = 500, 40
	// pause between two writes: every watcher has seen the last one.
	pause = 100 * time.Millisecond
)

// compareWatches writes an object that many watch, and prints how long it took from
// the write to each of them.
func compareWatches(ours, stock *server) error {
	fmt.Printf("\n| %d watchers, %d writes | p50 | p99 | last |\n|---|---|---|---|\n", watchers, writes)
	times := map[*server][]time.Duration{}
	for _, s := range []*server{stock, ours} {
		var err error
		if times[s], err = s.fanOut(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		all := times[s]
		fmt.Printf("| %s | %s | %s | %s |\n", s.name, milliseconds(all[len(all)/2]), milliseconds(all[len(all)*99/100]), milliseconds(all[len(all)-1]))
	}
	ratio := func(q int) float64 {
		return float64(times[ours][len(times[ours])*q/100]) / float64(times[stock][len(times[stock])*q/100])
	}
	fmt.Printf("| ours/stock | %.2f | %.2f | |\n", ratio(50), ratio(99))
	return nil
}

// fanOut returns the sorted times from before each write to when each watcher had
// read its event.
func (s *server) fanOut() ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sent := make([]time.Time, writes)
	var mu sync.Mutex
	var all []time.Duration
	seen := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, time.Since(sent[n]))
	}
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		return nil, err
	}
	failed := make(chan error, watchers)
	var open sync.WaitGroup
	for range watchers {
		open.Add(1)
		go func() { failed <- s.watch(ctx, client, open.Done, seen) }()
	}
	open.Wait()
	for n := range writes {
		body := fmt.Sprintf(`{"data": {"write": "%d"}}`, n)
		mu.Lock()
		sent[n] = time.Now()
		mu.Unlock()
		answer, err := harness.Send(ctx, s.config, http.MethodPatch, configs+"/one", body, "Content-Type", "application/merge-patch+json")
		if err != nil || answer.Code != http.StatusOK {
			return nil, fmt.Errorf("write: %s %w", answer, err)
		}
		if err := harness.Await(ctx, time.Minute, "all watchers have the event", func() error {
			mu.Lock()
			defer mu.Unlock()
			select {
			case err := <-failed:
				return fmt.Errorf("a watch ended: %w", err)
			default:
			}
			if len(all) < (n+1)*watchers {
				return fmt.Errorf("%d of %d have", len(all)-n*watchers, watchers)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		time.Sleep(pause)
	}
	slices.Sort(all)
	return all, nil
}

// watch reads events to its end. opened is called when the answer has begun.
func (s *server) watch(ctx context.Context, client *http.Client, opened func(), seen func(n int)) error {
	var once sync.Once
	defer once.Do(opened)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.config.Host+configs+"?watch=1&fieldSelector=metadata.name%3Done&resourceVersion=0", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a watch is answered %s", resp.Status)
	}
	lines := bufio.NewReader(resp.Body)
	if _, err := lines.ReadBytes('\n'); err != nil { // the object as it is
		return err
	}
	once.Do(opened)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		if _, after, ok := bytes.Cut(line, []byte(`"write":"`)); ok {
			digits, _, _ := bytes.Cut(after, []byte(`"`))
			if n, err := strconv.Atoi(string(digits)); err == nil && bytes.Contains(line, []byte(`"MODIFIED"`)) {
				seen(n)
			}
		}
	}
}
