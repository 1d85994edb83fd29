package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"triptych.dev/triptych/test/harness"
)

// axis is what both servers are given more and more of.
type axis struct {
	name string
	// short and long are the sizes, in rising order.
	short, long []int
	// columns are what measure tells.
	columns []string
	// grow takes the server from one size to a larger one; nil: measure does it.
	grow func(ctx context.Context, s *server, from, to int) error
	// measure tells how it is at this size, and the memory then.
	measure func(ctx context.Context, s *server, size int, window time.Duration) (cells []string, m harness.Memory, err error)
}

var axes = []axis{
	{"objects", []int{1_000, 10_000}, []int{1_000, 10_000, 100_000}, objectColumns, growObjects, measureObjects},
	{"watchers", []int{100, 1_000}, []int{100, 1_000, 10_000}, watcherColumns, nil, measureWatchers},
	{"CRDs", []int{100}, []int{100, 500, 2_000}, crdColumns, growCRDs, measureCRDs},
}

// grow measures one server after the other on each axis, each time a fresh one.
func grow(dir string, s settings) error {
	fmt.Printf("Measured on %d cores, %s, one server at a time, %s for each to grow and at most %d GiB. Memory and CPU are of all processes but etcd.\n",
		runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), s.budget, ceiling>>30)
	for i, a := range axes {
		if !s.only.MatchString(a.name) {
			continue
		}
		fmt.Printf("\n| %s | server | to get there | %s | PSS |\n|%s\n", a.name, strings.Join(a.columns, " | "), strings.Repeat("---|", len(a.columns)+4))
		for _, start := range []func(dir string) (*server, error){func(dir string) (*server, error) { return startOurs(dir, s.flags) }, func(dir string) (*server, error) { return startStock("stock", dir) }} {
			sv, err := start(fmt.Sprintf("%s/%d", dir, i))
			if err != nil {
				return err
			}
			err = errors.Join(a.along(sv, s), sv.close(), os.RemoveAll(fmt.Sprintf("%s/%d", dir, i)))
			if err != nil {
				return fmt.Errorf("%s with %s: %w", sv.name, a.name, err)
			}
		}
	}
	return nil
}

// along prints a line for each size, until the budget or the memory is used up.
func (a axis) along(sv *server, s settings) error {
	if err := sv.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), s.budget, fmt.Errorf("%s were not enough", s.budget))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go sv.holdBelow(ctx, ceiling, stop)
	sizes := a.short
	if s.long {
		sizes = a.long
	}
	from := 0
	for _, size := range sizes {
		line, err := a.at(ctx, sv, from, size, s.window)
		if cause := context.Cause(ctx); cause != nil {
			fmt.Printf("| %d | %s | stopped: %s |\n", size, sv.name, cause)
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println(line)
		from = size
	}
	return nil
}

// at is the line of one size.
func (a axis) at(ctx context.Context, sv *server, from, size int, window time.Duration) (string, error) {
	began := time.Now()
	if a.grow != nil {
		if err := a.grow(ctx, sv, from, size); err != nil {
			return "", err
		}
	}
	took := time.Since(began)
	cells, memory, err := a.measure(ctx, sv, size, window)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("| %d | %s | %.1f s | %s | %s |", size, sv.name, took.Seconds(), strings.Join(cells, " | "), mebibytes(memory.PSS)), nil
}

// ceiling is how much memory the server and the bench may have together.
const ceiling = 16 << 30

// holdBelow stops what grows the server when it is too large.
func (s *server) holdBelow(ctx context.Context, ceiling int64, stop context.CancelCauseFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all, err := s.memory()
		own, ownErr := harness.MemoryOf(os.Getpid())
		if err = errors.Join(err, ownErr); err != nil {
			stop(err)
		} else if all.RSS+own.RSS > ceiling {
			stop(fmt.Errorf("passed %d GiB", ceiling>>30))
		}
	}
}
