package main

import (
	"fmt"
	"net/http"
	"time"

	"triptych.dev/triptych/test/harness"
)

// givenBack is when the head has forgotten the merged OpenAPI document, which it
// does a minute after the last request for it.
const givenBack = 75 * time.Second

// reportOpenAPI prints what one request for the merged OpenAPI v2 document costs
// the head, and that it is given back.
func (p *pair) reportOpenAPI() error {
	status, _, err := p.ours.Status()
	if err != nil {
		return err
	}
	fmt.Printf("\n| /openapi/v2 once, MiB | RSS before | after | %.0f s later | anonymous before | after | %.0f s later |\n|---|---|---|---|---|---|---|\n",
		givenBack.Seconds(), givenBack.Seconds())
	for _, server := range []struct {
		name, kubeconfig string
		pid              int
	}{
		{"stock kube-apiserver", p.stock.Kubeconfig, p.stock.PID()},
		{"aggregator", p.ours.Kubeconfig, status.Replica("aggregator").PID},
	} {
		s, err := newSide(server.kubeconfig)
		if err != nil {
			return err
		}
		var seen []harness.Memory
		for _, step := range []func() error{
			func() error { return nil },
			func() error { _, err := s.send(http.MethodGet, "/openapi/v2", ""); return err },
			func() error { time.Sleep(givenBack); return nil },
		} {
			if err := step(); err != nil {
				return err
			}
			m, err := harness.MemoryOf(server.pid)
			if err != nil {
				return err
			}
			seen = append(seen, m)
		}
		fmt.Printf("| %s |", server.name)
		for _, m := range seen {
			fmt.Printf(" %d |", m.RSS>>20)
		}
		for _, m := range seen {
			fmt.Printf(" %d |", m.Anonymous>>20)
		}
		fmt.Println()
	}
	return nil
}
