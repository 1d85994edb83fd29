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

// measured is what one server did in all its windows.
type measured struct {
	times   []time.Duration
	elapsed time.Duration
	cpu     float64
}

func (m *measured) rate() float64       { return float64(len(m.times)) / m.elapsed.Seconds() }
func (m *measured) perRequest() float64 { return m.cpu / float64(len(m.times)) }

func (m *measured) at(quantile float64) time.Duration {
	return m.times[int(float64(len(m.times)-1)*quantile)]
}

// compare has both do the workload in turns. Who begins changes from round to
// round.
func compare(w workload, ours, stock *server, clients int, s settings) (row, error) {
	r := row{workload: w.name, clients: clients, ours: &measured{}, stock: &measured{}}
	var crowds [2]*crowd
	for i, sv := range []*server{ours, stock} {
		var err error
		if crowds[i], err = newCrowd(w, sv, clients, s.http1); err != nil {
			return r, err
		}
		defer crowds[i].leave()
		// Connections, caches; nothing of it counts.
		if err := crowds[i].window(&measured{}, s.window/5); err != nil {
			return r, fmt.Errorf("%s: %w", sv.name, err)
		}
	}
	for round := range s.rounds {
		for turn := range 2 {
			i := (round + turn) % 2
			if err := crowds[i].window([]*measured{r.ours, r.stock}[i], s.window); err != nil {
				return r, fmt.Errorf("%s: %w", crowds[i].server.name, err)
			}
		}
	}
	if len(r.ours.times) == 0 || len(r.stock.times) == 0 {
		return r, errors.New("a window had no request: lengthen it")
	}
	slices.Sort(r.ours.times)
	slices.Sort(r.stock.times)
	return r, nil
}

// crowd are clients of one server, each with a connection of its own.
type crowd struct {
	workload workload
	server   *server
	clients  []*http.Client
}

func newCrowd(w workload, s *server, clients int, http1 bool) (*crowd, error) {
	c := &crowd{workload: w, server: s}
	config := s.config
	if w.token {
		config = rest.AnonymousClientConfig(config)
	}
	for range clients {
		secure, err := rest.TLSConfigFor(config)
		if err != nil {
			return nil, err
		}
		transport := &http.Transport{TLSClientConfig: secure.Clone(), ForceAttemptHTTP2: !http1, DisableCompression: true}
		if http1 {
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

// window has all clients send one request after the other for a while, and adds
// what that took to m.
func (c *crowd) window(m *measured, length time.Duration) error {
	before, err := c.server.cpu()
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	times, errs := make([][]time.Duration, len(c.clients)), make([]error, len(c.clients))
	began := time.Now()
	for i, client := range c.clients {
		wait.Go(func() {
			for time.Since(began) < length {
				method, path, body := c.workload.request(c.server)
				if method == "" {
					return
				}
				sent := time.Now()
				if errs[i] = c.send(client, method, path, body); errs[i] != nil {
					return
				}
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	wait.Wait()
	m.elapsed += time.Since(began)
	after, err := c.server.cpu()
	m.cpu += after - before
	m.times = append(m.times, slices.Concat(times...)...)
	return errors.Join(append(errs, err)...)
}

// send sends one request and reads the answer, which must be the one that both
// servers are to give.
func (c *crowd) send(client *http.Client, method, path, body string) error {
	r, err := http.NewRequest(method, c.server.config.Host+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	for i := 0; i < len(c.workload.headers); i += 2 {
		r.Header.Set(c.workload.headers[i], c.workload.headers[i+1])
	}
	if c.workload.token {
		r.Header.Set("Authorization", "Bearer "+c.server.token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != c.workload.code {
		return fmt.Errorf("%s %s answers %s, want %d", method, path, resp.Status, c.workload.code)
	}
	return nil
}
