package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

const (
	// crdRounds of each change, alternating between ours and stock.
	crdRounds = 15
	// look is how often a place is looked at, and lookAtMuch one whose document has
	// megabytes.
	look, lookAtMuch = 10 * time.Millisecond, 100 * time.Millisecond
	// seenBound is when to give up.
	seenBound = time.Minute
)

// side is one of the two APIs.
type side struct {
	config *rest.Config
}

func newSide(kubeconfig string) (*side, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return &side{config: config}, nil
}

func (s *side) send(method, path, body string, headers ...string) (harness.Answer, error) {
	return harness.Send(context.Background(), s.config, method, path, body, headers...)
}

const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// must sends what changes something.
func (s *side) must(method, path, body, contentType string) error {
	answer, err := s.send(method, path, body, "Content-Type", contentType)
	if err == nil && answer.Code >= 300 {
		err = fmt.Errorf("%s %s: %s", method, path, answer)
	}
	return err
}

const schema = `{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}`

func (s *side) createCRD(group string) error {
	return s.must(http.MethodPost, crds, fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
		"metadata":{"name":"gadgets.%[1]s"},"spec":{"group":%[1]q,"scope":"Cluster","names":{"plural":"gadgets","kind":"Gadget"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":%[2]s}]}}`, group, schema), "application/json")
}

func (s *side) addVersion(group string) error {
	return s.must(http.MethodPatch, crds+"/gadgets."+group, fmt.Sprintf(
		`[{"op":"add","path":"/spec/versions/-","value":{"name":"v2","served":true,"storage":false,"schema":%s}}]`, schema),
		"application/json-patch+json")
}

func (s *side) deleteCRD(group string) error {
	return s.must(http.MethodDelete, crds+"/gadgets."+group, "", "application/json")
}

// place is where a version of a CRD can be seen.
type place struct {
	name string
	look time.Duration
	sees func(s *side, group, version string) (bool, error)
}

// contains sees the version by a text in a document.
func contains(path, format string) func(s *side, group, version string) (bool, error) {
	return func(s *side, group, version string) (bool, error) {
		answer, err := s.send(http.MethodGet, path, "")
		return answer.Code == http.StatusOK && bytes.Contains(answer.Body, fmt.Appendf(nil, format, group, version)), err
	}
}

var established = place{"CRD is Established", look, func(s *side, group, _ string) (bool, error) {
	answer, err := s.send(http.MethodGet, crds+"/gadgets."+group, "")
	var crd struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	_ = json.Unmarshal(answer.Body, &crd)
	return slices.Contains(crd.Status.Conditions, struct{ Type, Status string }{"Established", "True"}), err
}}

var places = []place{
	{"custom resources", look, func(s *side, group, version string) (bool, error) {
		answer, err := s.send(http.MethodGet, "/apis/"+group+"/"+version+"/gadgets", "")
		return answer.Code == http.StatusOK, err
	}},
	{"/apis, aggregated", look, seesAggregated},
	{"/apis", look, contains("/apis", `"groupVersion":"%s/%s"`)},
	{"/apis/GROUP", look, func(s *side, group, version string) (bool, error) {
		return contains("/apis/"+group, `"groupVersion":"%s/%s"`)(s, group, version)
	}},
	{"/openapi/v3", look, contains("/openapi/v3", `"apis/%s/%s"`)},
}

func seesAggregated(s *side, group, version string) (bool, error) {
	answer, err := s.send(http.MethodGet, "/apis", "", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Versions []struct{ Version string }
		}
	}
	_ = json.Unmarshal(answer.Body, &list)
	for _, g := range list.Items {
		for _, v := range g.Versions {
			if g.Metadata.Name == group && v.Version == version {
				return true, err
			}
		}
	}
	return false, err
}

// v2 is looked at alone: merging it takes the processor from all others.
var v2 = []place{{"/openapi/v2", lookAtMuch, contains("/openapi/v2", `"/apis/%s/%s/`)}}

// watch makes a change and returns when each place showed it.
func (s *side) watch(change func(string) error, in []place, group, version string, want bool) (map[string]time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), seenBound)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	var failed error
	seen := map[string]time.Duration{}
	began := time.Now()
	for _, p := range in {
		wait.Go(func() {
			err := p.await(ctx, s, group, version, want)
			mu.Lock()
			defer mu.Unlock()
			seen[p.name] = time.Since(began)
			if err != nil {
				failed = err
			}
		})
	}
	if err := change(group); err != nil {
		cancel()
		failed = err
	}
	wait.Wait()
	return seen, failed
}

func (p place) await(ctx context.Context, s *side, group, version string, want bool) error {
	tick := time.NewTicker(p.look)
	defer tick.Stop()
	for {
		sees, err := p.sees(s, group, version)
		if err != nil || sees == want {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s/%s did not change in %s: %w", group, version, p.name, ctx.Err())
		}
	}
}

// change is one thing done to a CRD.
type change struct {
	name    string
	do      func(s *side) func(group string) error
	in      []place
	version string
	want    bool
}

var changes = []change{
	{"created", func(s *side) func(string) error { return s.createCRD }, append([]place{established}, places...), "v1", true},
	{"version added", func(s *side) func(string) error { return s.addVersion }, places, "v2", true},
	{"deleted", func(s *side) func(string) error { return s.deleteCRD }, places, "v1", false},
	{"created", func(s *side) func(string) error { return s.createCRD }, v2, "v1", true},
	{"deleted", func(s *side) func(string) error { return s.deleteCRD }, v2, "v1", false},
}

// reportDiscovery prints how long a change of a CRD takes to be seen.
func (p *pair) reportDiscovery() error {
	var sides [2]*side
	for i, kubeconfig := range []string{p.stock.Kubeconfig, p.ours.Kubeconfig} {
		var err error
		if sides[i], err = newSide(kubeconfig); err != nil {
			return err
		}
	}
	type row struct{ change, place string }
	took := [2]map[row][]time.Duration{{}, {}}
	for round := range crdRounds {
		for _, c := range changes {
			for i, s := range sides {
				seen, err := s.watch(c.do(s), c.in, fmt.Sprintf("round-%d.example.com", round), c.version, c.want)
				if err != nil {
					return err
				}
				for name, t := range seen {
					took[i][row{c.name, name}] = append(took[i][row{c.name, name}], t)
				}
			}
		}
	}
	fmt.Printf("\n| CRD, %d times | seen in | stock p50, ms | max | ours p50, ms | max | ratio of p50 |\n|---|---|---|---|---|---|---|\n", crdRounds)
	for _, c := range changes {
		for _, at := range c.in {
			stock, ours := took[0][row{c.name, at.name}], took[1][row{c.name, at.name}]
			fmt.Printf("| %s | %s | %d | %d | %d | %d | %.2f |\n", c.name, at.name,
				median(stock).Milliseconds(), slices.Max(stock).Milliseconds(),
				median(ours).Milliseconds(), slices.Max(ours).Milliseconds(),
				median(ours).Seconds()/median(stock).Seconds())
		}
	}
	return nil
}
