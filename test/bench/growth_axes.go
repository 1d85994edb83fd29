package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"triptych.dev/triptych/test/harness"
)

var (
	getColumns     = []string{"get p50", "p99", "CPU per get"}
	objectColumns  = slices.Concat(getColumns, []string{"list of 500 p50", "CPU per list"})
	crdColumns     = slices.Concat(getColumns, []string{"discovery p50", "CPU per discovery"})
	watcherColumns = []string{"delivery p50", "p99", "CPU per event"}
)

// grown is a namespace apart from what is read.
const grown = space + "-growth"

// growObjects makes ConfigMaps of 1 kB.
func growObjects(ctx context.Context, s *server, from, to int) error {
	if from == 0 {
		if err := s.post("/api/v1/namespaces", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+grown+`"}}`); err != nil {
			return err
		}
	}
	return s.fill(ctx, from, to, workload{headers: create.headers, code: 201, request: func(n int64) (string, string, string) {
		return http.MethodPost, "/api/v1/namespaces/" + grown + "/configmaps", configMap(fmt.Sprintf("c-%d", n))
	}})
}

// growCRDs makes CRDs of small schemas, and waits until all are served.
func growCRDs(ctx context.Context, s *server, from, to int) error {
	err := s.fill(ctx, from, to, workload{headers: create.headers, code: 201, request: func(n int64) (string, string, string) {
		numbered := strings.NewReplacer("gadgets", fmt.Sprintf("gadgets%d", n), "Gadget", fmt.Sprintf("Gadget%d", n))
		return http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", numbered.Replace(crd)
	}})
	for n := from; n < to && err == nil; n++ {
		path := fmt.Sprintf("/apis/%s/v1/gadgets%d?limit=1", group, n)
		err = harness.Await(ctx, time.Minute, path+" is served", func() error {
			answer, err := harness.Send(ctx, s.config, http.MethodGet, path, "")
			if err == nil && answer.Code != http.StatusOK {
				err = fmt.Errorf("%s", answer)
			}
			return err
		})
	}
	return err
}

// fill sends the requests from..to-1 by 16 clients.
func (s *server) fill(ctx context.Context, from, to int, w workload) error {
	c, err := newCrowd(w, s, scene{clients: 16})
	if err != nil {
		return err
	}
	defer c.leave()
	all, ctx := errgroup.WithContext(ctx)
	var sent atomic.Int64
	for _, client := range c.clients {
		all.Go(func() error {
			for ctx.Err() == nil {
				n := int64(from) + sent.Add(1) - 1
				if n >= int64(to) {
					return nil
				}
				if _, _, err := c.send(client, w, n); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return all.Wait()
}

func measureObjects(_ context.Context, s *server, _ int, length time.Duration) (cells []string, m harness.Memory, err error) {
	list := workload{code: 200, request: always(http.MethodGet, "/api/v1/namespaces/"+grown+"/configmaps?limit=500")}
	return s.gets(length, list)
}

func measureCRDs(_ context.Context, s *server, _ int, length time.Duration) (cells []string, m harness.Memory, err error) {
	discovery := workload{code: 200, request: always(http.MethodGet, "/apis"),
		headers: []string{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}}
	return s.gets(length, discovery)
}

// gets measures the first workload, a get, and another, each with one client.
func (s *server) gets(length time.Duration, other workload) (cells []string, m harness.Memory, err error) {
	get, err := s.alone(workloads[0], length)
	if err != nil {
		return nil, m, err
	}
	more, err := s.alone(other, length)
	if err != nil {
		return nil, m, err
	}
	m, err = s.memory()
	return []string{
		milliseconds(latency(.5)(get)), milliseconds(latency(.99)(get)), microseconds(perRequest(get)),
		milliseconds(latency(.5)(more)), microseconds(perRequest(more)),
	}, m, err
}

// alone is one window of one client, after a shorter one that does not count.
func (s *server) alone(w workload, length time.Duration) (counted window, err error) {
	c, err := newCrowd(w, s, scene{clients: 1})
	if err != nil {
		return counted, err
	}
	defer c.leave()
	for _, length := range []time.Duration{length / 5, length} {
		if counted, err = c.window(length); err != nil {
			return counted, err
		}
	}
	return counted, nil
}

// measureWatchers has that many watch one object.
func measureWatchers(ctx context.Context, s *server, size int, _ time.Duration) (cells []string, m harness.Memory, err error) {
	d, err := s.fanOut(ctx, size, 5, func() {})
	if err != nil {
		return nil, m, err
	}
	return []string{milliseconds(latency(.5)(d.window)), milliseconds(latency(.99)(d.window)), microseconds(perRequest(d.window))}, d.memory, nil
}

func microseconds(seconds float64) string { return fmt.Sprintf("%.0f us", seconds*1e6) }
