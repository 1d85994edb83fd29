package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const (
	definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	discovery   = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	// bound is for each wait. A storm that takes longer is told as it is then.
	bound = 10 * time.Minute
	// A side is calm when it uses less than idle of a core over calm.
	calm = 5 * time.Second
	idle = .25
)

// result is one side's storm.
type result struct {
	side string
	// quiet is the latency before, during until the side was calm again.
	quiet, during latencies
	// created, established, discovered, described and calmed are counted from the
	// beginning: all were accepted, are Established, in the discovery document, in the
	// list of OpenAPI v3 documents, and there was nothing more to do.
	created, established, discovered, described, calmed time.Duration
	// merged is how long the merged OpenAPI v2 document took, of so many bytes.
	merged      time.Duration
	mergedBytes int
	// used is until the side was calm, and usedMerged after the merged document too.
	used, usedMerged map[string]usage
	// stopped says why the storm did not come to its end.
	stopped string
}

var errCeiling = errors.New("passed the ceiling")

func storm(sv *server, crds int, s settings) (*result, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if err := created(ctx, sv.config, "/api/v1/namespaces/default/configmaps",
		`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probed"}, "data": {"filler": "`+strings.Repeat("x", 700)+`"}}`); err != nil {
		return nil, err
	}
	p, err := startProbe(sv.kubeconfig)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	g := startGauge(ctx, sv, s.ceiling)
	go func() {
		<-g.passed
		cancel(errCeiling)
	}()
	r := &result{side: sv.name}
	settle(ctx, g)
	p.take()
	pause(ctx, s.quiet)
	r.quiet = p.take()
	err = r.rage(ctx, sv, g, crds, s)
	r.during = p.take()
	if err == nil {
		r.used = g.used()
		err = r.merge(ctx, sv)
	}
	r.usedMerged = g.used()
	if r.used == nil {
		r.used = r.usedMerged
	}
	if errors.Is(context.Cause(ctx), errCeiling) {
		r.stopped = fmt.Sprintf("killed when it passed %d GiB", s.ceiling>>30)
		return r, nil
	}
	return r, err
}

// rage is the storm itself, to the calm after it.
func (r *result) rage(ctx context.Context, sv *server, g *gauge, crds int, s settings) error {
	began := time.Now()
	for _, step := range []struct {
		took *time.Duration
		do   func() error
	}{
		{&r.created, func() error { return createAll(ctx, sv.config, crds, s) }},
		{&r.established, func() error { return awaitEstablished(ctx, sv.config, crds) }},
		{&r.discovered, func() error { return awaitDocument(ctx, sv.config, "/apis", discovery, `"name":"g`, crds) }},
		{&r.described, func() error { return awaitDocument(ctx, sv.config, "/openapi/v3", "", `"apis/g`, crds) }},
		{&r.calmed, func() error { return settle(ctx, g) }},
	} {
		if err := step.do(); err != nil {
			return err
		}
		*step.took = time.Since(began)
	}
	return nil
}

// merge asks for the OpenAPI v2 document, as kubectl of old and other clients do.
func (r *result) merge(ctx context.Context, sv *server) error {
	began := time.Now()
	answer, err := send(ctx, sv.config, http.MethodGet, "/openapi/v2", "", "Accept", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
	r.merged, r.mergedBytes = time.Since(began), len(answer.Body)
	return err
}

func createAll(ctx context.Context, config *rest.Config, crds int, s settings) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, s.writers)
	for w := range errs {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < crds && errs[w] == nil; i = int(next.Add(1)) - 1 {
				errs[w] = created(ctx, config, definitions, definition(i, s.properties))
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// awaitEstablished asks for one after the other: a list of all of them would be a
// storm of its own.
func awaitEstablished(ctx context.Context, config *rest.Config, crds int) error {
	for i := range crds {
		if err := harness.Await(ctx, bound, nameOf(i)+" is Established", func() error {
			answer, err := send(ctx, config, http.MethodGet, definitions+"/"+nameOf(i), "")
			if err != nil {
				return err
			}
			crd := struct {
				Status struct {
					Conditions []struct{ Type, Status string }
				}
			}{}
			if err := json.Unmarshal(answer.Body, &crd); err != nil {
				return err
			}
			for _, c := range crd.Status.Conditions {
				if c.Type == "Established" && c.Status == "True" {
					return nil
				}
			}
			return errors.New("not yet")
		}); err != nil {
			return err
		}
	}
	return nil
}

// awaitDocument waits until the document has all resources, or, in a list of groups, all groups.
func awaitDocument(ctx context.Context, config *rest.Config, path, accept, mark string, crds int) error {
	return harness.Await(ctx, bound, path+" is complete", func() error {
		answer, err := send(ctx, config, http.MethodGet, path, "", "Accept", accept)
		if err != nil {
			return err
		}
		body := string(answer.Body)
		whole := strings.Count(body, mark) >= groups(crds)
		if whole && accept != "" {
			whole = strings.Count(body, `"resource":"storm`) >= crds
		}
		if !whole {
			time.Sleep(time.Second) // the document is large, and asking is not to be the load
			return errors.New("not yet")
		}
		return nil
	})
}

// settle waits until the processes have nothing to do.
func settle(ctx context.Context, g *gauge) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for ctx.Err() == nil {
		before := g.load()
		pause(ctx, calm)
		// The probe costs something too.
		if g.load()-before < (idle+probeShare)*calm.Seconds() {
			return nil
		}
	}
	return context.Cause(ctx)
}

// probeShare is a bound of what answering the probe costs, in cores.
const probeShare = .25

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func created(ctx context.Context, config *rest.Config, path, body string) error {
	answer, err := send(ctx, config, http.MethodPost, path, body, "Content-Type", "application/json")
	if err == nil && answer.Code != http.StatusCreated {
		err = fmt.Errorf("POST %s: %s", path, answer)
	}
	return err
}

// send bounds nothing but by ctx: the merged document of a large storm takes minutes.
func send(ctx context.Context, config *rest.Config, method, path, body string, headers ...string) (harness.Answer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return harness.Answer{}, err
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(config.Host, "/")+path, strings.NewReader(body))
	if err != nil {
		return harness.Answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	return harness.Do(client, r)
}
