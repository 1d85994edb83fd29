package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// window is what one server did in one of its turns.
type window struct {
	// times are sorted.
	times   []time.Duration
	elapsed time.Duration
	// cpu is in seconds, of all processes but etcd.
	cpu float64
}

// metric is a figure of one window.
type metric func(w window) float64

func rate(w window) float64       { return float64(len(w.times)) / w.elapsed.Seconds() }
func perRequest(w window) float64 { return w.cpu / float64(len(w.times)) }

// latency is in nanoseconds. Of less than 100 requests p99 is the slowest but one.
func latency(quantile float64) metric {
	return func(w window) float64 { return float64(w.times[int(float64(len(w.times)-1)*quantile)]) }
}

// measured is what one server did in all its turns.
type measured struct{ windows []window }

func (m *measured) median(f metric) float64 {
	var all []float64
	for _, w := range m.windows {
		if len(w.times) > 0 {
			all = append(all, f(w))
		}
	}
	return median(all)
}

// compare has all servers do the workload in turns. Who begins changes from round
// to round. Each round ends with one request to all, whose answers are compared.
func compare(w workload, servers []*server, scene scene, found *differences, s settings) (row, error) {
	r := row{workload: w.name, scene: scene}
	var crowds []*crowd
	for _, sv := range servers {
		c, err := newCrowd(w, sv, scene)
		if err != nil {
			return r, err
		}
		defer c.leave()
		crowds, r.sides = append(crowds, c), append(r.sides, &measured{})
		// Connections, caches; nothing of it counts.
		if _, err := c.window(s.window / 5); err != nil {
			return r, fmt.Errorf("%s: %w", sv.name, err)
		}
	}
	for round := range s.rounds {
		for turn := range crowds {
			i := (round + turn) % len(crowds)
			window, err := crowds[i].window(s.window)
			if err != nil {
				return r, fmt.Errorf("%s: %w", servers[i].name, err)
			}
			r.sides[i].windows = append(r.sides[i].windows, window)
		}
		if err := found.compare(w, crowds); err != nil {
			return r, err
		}
	}
	if len(r.ratios(1, rate)) == 0 {
		return r, errors.New("no pair of windows had requests: lengthen them, or let create run before delete")
	}
	return r, nil
}

// crowd are clients of one server, each with a connection of its own.
type crowd struct {
	workload workload
	server   *server
	clients  []*http.Client
}

func newCrowd(w workload, s *server, scene scene) (*crowd, error) {
	c := &crowd{workload: w, server: s}
	config := s.config
	if w.token {
		config = rest.AnonymousClientConfig(config)
	}
	for range scene.clients {
		secure, err := rest.TLSConfigFor(config)
		if err != nil {
			return nil, err
		}
		transport := &http.Transport{TLSClientConfig: secure.Clone(), ForceAttemptHTTP2: !scene.http1, DisableCompression: true}
		if scene.http1 {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		c.clients = append(c.clients, &http.Client{Transport: transport, Timeout: time.Minute})
	}
	return c, nil
}

func (c *crowd) leave() {
	for _, client := range c.clients {
		client.CloseIdleConnections()
	}
}

// window has all clients send one request after the other for a while.
func (c *crowd) window(length time.Duration) (w window, err error) {
	before, err := c.server.cpu()
	if err != nil {
		return w, err
	}
	var wait sync.WaitGroup
	times, errs := make([][]time.Duration, len(c.clients)), make([]error, len(c.clients))
	began := time.Now()
	for i, client := range c.clients {
		wait.Go(func() {
			for time.Since(began) < length {
				n, some := c.workload.next(c.server)
				if !some {
					return
				}
				sent := time.Now()
				if _, _, errs[i] = c.send(client, c.workload, n); errs[i] != nil {
					return
				}
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	wait.Wait()
	w.elapsed = time.Since(began)
	after, err := c.server.cpu()
	w.cpu = after - before
	w.times = slices.Sorted(slices.Values(slices.Concat(times...)))
	return w, errors.Join(append(errs, err)...)
}

// send sends the nth request and reads the answer, which must have the code that
// both servers are to give.
func (c *crowd) send(client *http.Client, w workload, n int64) (code int, body []byte, err error) {
	method, path, content := w.request(n)
	r, err := http.NewRequest(method, c.server.config.Host+path, strings.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	for i := 0; i < len(w.headers); i += 2 {
		r.Header.Set(w.headers[i], w.headers[i+1])
	}
	if w.token {
		r.Header.Set("Authorization", "Bearer "+c.server.token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if n < firstCheck { // timed: who reads is to cost little
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		body, err = io.ReadAll(resp.Body)
	}
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, body, w.unexpected(resp.StatusCode, method+" "+path)
}
