package clients

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"triptych.dev/triptych/test/clients/operator"
	"triptych.dev/triptych/test/harness"
)

var serverFlag = flag.String("server", "ours", "which server: ours, stock or both, one after the other")

func TestMain(m *testing.M) {
	operator.ChildMain()
	harness.Main(m, "clients-build")
}

// scenario is what one kind of client does, and what it must see in the end.
type scenario struct {
	name string
	run  func(*testing.T, *world)
}

// together run at once, as in a cluster.
var together = []scenario{
	{"Deployment, Service and EndpointSlices", deployment},
	{"DaemonSet and StatefulSet", sets},
	{"Job and CronJob", jobs},
	{"garbage collection across tiers", collection},
	{"garbage collection of a kind made later", laterKind},
	{"deletion of a namespace", namespaceDeletion},
	{"eviction and disruption budget", eviction},
	{"quota", quota},
	{"autoscaler and metrics of an aggregated API", autoscaling},
	{"tokens of service accounts", accounts},
	{"certificate request, aggregated role, type check", signing},
	{"helm", helm},
}

// apart kill and restart, and have the world for themselves.
var apart = []scenario{
	{"rollouts and Jobs while each process is killed", rolloutWhileKilled},
	{"operator, killed and restarted", operators},
	{"new controllers while extensions is away", newControllersWhileAway},
}

// Real clients work against ours as against stock.
func TestClients(t *testing.T) {
	servers := []string{*serverFlag}
	if *serverFlag == "both" {
		servers = []string{"ours", "stock"}
	}
	took := &times{of: map[string]map[string]time.Duration{}}
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			logs := filepath.Join(harness.BinDir(), "clients", server)
			if err := errors.Join(os.RemoveAll(logs), os.MkdirAll(logs, 0o755)); err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			w := startWorld(t, server, logs)
			took.add("start", server, started)
			t.Run("together", func(t *testing.T) {
				for _, s := range together {
					t.Run(s.name, func(t *testing.T) {
						t.Parallel()
						took.run(t, server, s, w)
					})
				}
			})
			t.Run("apart", func(t *testing.T) {
				for _, s := range apart {
					t.Run(s.name, func(t *testing.T) { took.run(t, server, s, w) })
				}
			})
		})
	}
	took.print(servers)
}

// times are how long each scenario took on each server.
type times struct {
	mu    sync.Mutex
	names []string
	of    map[string]map[string]time.Duration
}

func (o *times) run(t *testing.T, server string, s scenario, w *world) {
	defer o.add(s.name, server, time.Now())
	s.run(t, w)
}

func (o *times) add(name, server string, started time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of[name] == nil {
		o.names = append(o.names, name)
		o.of[name] = map[string]time.Duration{}
	}
	o.of[name][server] = time.Since(started)
}

func (o *times) print(servers []string) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "seconds\t")
	for _, server := range servers {
		fmt.Fprint(table, server, "\t")
	}
	for _, name := range o.names {
		fmt.Fprint(table, "\n", name, "\t")
		for _, server := range servers {
			fmt.Fprintf(table, "%.1f\t", o.of[name][server].Seconds())
		}
	}
	fmt.Fprintln(table)
	table.Flush()
}
