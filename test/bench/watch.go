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
	watchers = 500
	// writes of a turn.
	writes = 10
	// turns of each server.
	turns = 10
)

// compareWatches writes an object that many watch, and prints how long it took from
// the write to each of them. The servers take turns.
func compareWatches(ours, stock *server) error {
	fmt.Printf("\n| %d watchers, %d writes | p50 | p99 | last | CPU per event |\n|---|---|---|---|---|\n", watchers, writes*turns)
	seen := map[*server]*window{ours: {}, stock: {}}
	pair := []*server{stock, ours}
	for range turns {
		for _, s := range pair {
			w, err := s.fanOut(context.Background(), watchers, writes, func() {})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			all := seen[s]
			all.times, all.cpu = append(all.times, w.times...), all.cpu+w.cpu
		}
		slices.Reverse(pair)
	}
	figures := []metric{latency(.5), latency(.99), latency(1), perRequest}
	for _, s := range []*server{stock, ours} {
		slices.Sort(seen[s].times)
		fmt.Printf("| %s |", s.name)
		for _, f := range figures[:3] {
			fmt.Printf(" %s |", milliseconds(f(*seen[s])))
		}
		fmt.Printf(" %.0f us |\n", perRequest(*seen[s])*1e6)
	}
	fmt.Print("| ours/stock |")
	for i, name := range []string{"p50", "p99", "last", "CPU"} {
		fmt.Printf(" %s |", judged(figures[i](*seen[ours])/figures[i](*seen[stock]), markOf("watch", name, 0)))
	}
	fmt.Println()
	return nil
}

// delivery is what became of some writes.
type delivery struct {
	window
	// memory is with all watchers there.
	memory harness.Memory
}

// fanOut returns the times from before each write to when each watcher had read its
// event, the CPU of the writes, and the memory at their end. opened is called when all watches are there.
func (s *server) fanOut(parent context.Context, watchers, writes int, opened func()) (w delivery, err error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	var sent []time.Time
	var mu sync.Mutex
	var all []time.Duration
	seen := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, time.Since(sent[n]))
	}
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		return w, err
	}
	failed := make(chan error, watchers)
	var open sync.WaitGroup
	// All at once, each would dial.
	opening := make(chan struct{}, 16)
	for range watchers {
		open.Add(1)
		opening <- struct{}{}
		begun := func() { <-opening; open.Done() }
		go func() { failed <- s.watch(ctx, client, begun, seen) }()
	}
	open.Wait()
	opened()
	before, err := s.cpu()
	if err != nil {
		return w, err
	}
	for n := range writes {
		body := fmt.Sprintf(`{"data": {"write": "%d"}}`, n)
		mu.Lock()
		sent = append(sent, time.Now())
		mu.Unlock()
		answer, err := harness.Send(ctx, s.config, http.MethodPatch, configs+"/one", body, "Content-Type", "application/merge-patch+json")
		if err != nil || answer.Code != http.StatusOK {
			return w, fmt.Errorf("write: %s %w", answer, err)
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
			return w, err
		}
	}
	after, err := s.cpu()
	if err != nil {
		return w, err
	}
	w.memory, err = s.memory()
	w.times, w.cpu = slices.Sorted(slices.Values(all)), after-before
	return w, err
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
