package main

import (
	"fmt"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

// reportRunning prints memory when idle, what the merged OpenAPI document costs,
// how fast CRDs are seen, how long revoked tokens live, how fast rights change, then
// what a load of reads notices when extensions is killed; or one of these.
func reportRunning(dir, only string) error {
	p, err := startPair(dir)
	if err != nil {
		return err
	}
	defer p.close()
	if only == "" || only == "memory" {
		time.Sleep(settle)
	}
	known := false
	for _, part := range []struct {
		name  string
		print func() error
	}{
		{"memory", p.reportMemory}, {"openapi", p.reportOpenAPI}, {"discovery", p.reportDiscovery},
		{"revocations", p.reportRevocations}, {"rights", p.reportRights}, {"kills", p.reportKills},
	} {
		if only != "" && only != part.name {
			continue
		}
		known = true
		if err := part.print(); err != nil {
			return err
		}
	}
	if !known {
		return fmt.Errorf("no part of the report is called %q", only)
	}
	return nil
}

func (p *pair) reportMemory() error {
	status, _, err := p.ours.Status()
	if err != nil {
		return err
	}
	stock, err := harness.MemoryOf(p.stock.PID())
	if err != nil {
		return err
	}
	fmt.Printf("\n| idle memory, MiB | RSS | anonymous | PSS |\n|---|---|---|---|\n")
	row := func(name string, m harness.Memory) {
		fmt.Printf("| %s | %d | %d | %d |\n", name, m.RSS>>20, m.Anonymous>>20, m.PSS>>20)
	}
	row("stock kube-apiserver", stock)
	var sum harness.Memory
	for _, process := range []struct {
		name string
		pid  int
	}{
		{"supervisor", p.ours.PID()}, {"aggregator", status.Replica("aggregator").PID},
		{"core", status.Replica("core").PID}, {"extensions", status.Replica("extensions").PID},
	} {
		m, err := harness.MemoryOf(process.pid)
		if err != nil {
			return err
		}
		row(process.name, m)
		sum.RSS, sum.Anonymous, sum.PSS = sum.RSS+m.RSS, sum.Anonymous+m.Anonymous, sum.PSS+m.PSS
	}
	row("all of ours", sum)
	fmt.Printf("\nPSS of all of ours is %.2f of stock's. etcd is in neither", float64(sum.PSS)/float64(stock.PSS))
	if etcd, err := harness.MemoryOf(status.Etcd.PID); err == nil {
		fmt.Printf("; ours has %d MiB RSS", etcd.RSS>>20)
	}
	fmt.Println(".")
	return nil
}

// kills of extensions under load.
const kills = 5

func (p *pair) reportKills() error {
	config, err := clientcmd.BuildConfigFromFlags("", p.ours.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	load, err := harness.StartLoad(config, 8, []string{"/api/v1/namespaces/default", "/api/v1/namespaces", "/apis/apps/v1/deployments"}, harness.IsOK)
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range kills {
		status, err := p.ours.AwaitStatus(harness.StartBound, "Ready", harness.IsReady)
		if err != nil {
			return err
		}
		if err := syscall.Kill(status.Replica("extensions").PID, syscall.SIGKILL); err != nil {
			return err
		}
		if _, err := p.ours.AwaitStatus(harness.StartBound, "restarted", func(s harness.Status) bool {
			return s.Replica("extensions").Restarts > i && s.Phase == "Ready"
		}); err != nil {
			return err
		}
	}
	took := time.Since(began)
	seen := load.Stop()
	fmt.Printf("\nGETs on core by 8 clients while extensions was killed %d times in %.0f s: %d answered 200, %d failed.\n",
		kills, took.Seconds(), seen.OK(), len(seen.Failures))
	for i, failure := range seen.Failures {
		if i < 5 {
			fmt.Println("    " + failure)
		}
	}
	return nil
}
