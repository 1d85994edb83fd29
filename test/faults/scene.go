package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

var (
	seed   = flag.Uint64("seed", 0, "of all that is left to chance; 0 picks one")
	long   = flag.Bool("long", false, "every fault as often as docs/explanation/faults.md says, for hours")
	times  = flag.Int("kills", 0, "how often each process is killed; 0 is 5, or 100 with -long")
	rounds = flag.Int("rounds", 0, "how often every other fault is played; 0 is once, or up to 50 times with -long")
	only   = flag.String("only", "", "a regular expression of the faults that are played; empty is each")
)

// pickSeed returns the seed of this run.
var pickSeed = sync.OnceValue(func() uint64 {
	if *seed != 0 {
		return *seed
	}
	return uint64(time.Now().UnixNano())
})

const (
	// steadyOps is how many requests of each kind have to succeed before a fault, and
	// once it is over.
	steadyOps = 15
	// minRate is how many requests a second must be answered while nothing is broken.
	// A fault that hits a load below it says nothing: the round is void.
	minRate = 6
	// tries is how often a fault is played until it is not void.
	tries = 3
	// steadyBound is how long all may take to be well again beyond the budget, on a machine
	// of whatever kind.
	steadyBound = 3 * time.Minute
)

// Scene is an API under load, ours or stock. Its methods are for one goroutine.
type Scene struct {
	API *harness.API
	// Chance decides what is left open; the seed is printed.
	Chance *rand.Rand
	// Server is what the table says runs.
	Server string
	// healthy returns an error unless every process is ready.
	healthy func() error

	kinds   []kind
	shelves map[string]*shelf
	ctx     context.Context // of the test
	record  *Record
	values  atomic.Int64
	clients []*client
	judges  []*watched
	round   int
	// over is when the fault of the round was, since then it mends: 0 is when Break
	// returned.
	over int64
}

// strike says that the fault is a moment, and that it is now.
func (s *Scene) strike() { s.over = s.record.now() }

// stage puts clients and watchers of kinds in front of an API and warms it up. logs keeps
// those of its processes and says where.
func stage(t *testing.T, api *harness.API, kinds []kind, healthy func() error, logs func() string) *Scene {
	t.Helper()
	chosen := pickSeed()
	t.Logf("the seed is %d: again with ARGS=-seed=%d", chosen, chosen)
	dir := filepath.Join(harness.BinDir(), "faults", strings.ReplaceAll(t.Name(), "/", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := harness.Must(os.Create(filepath.Join(dir, "history.jsonl")))(t)
	t.Cleanup(func() {
		file.Close()
		if t.Failed() {
			os.WriteFile(filepath.Join(dir, "seed"), fmt.Append(nil, chosen, "\n"), 0o644)
			t.Logf("seed, history and logs are kept in %s\n%s", dir, logs())
		} else {
			os.RemoveAll(dir)
		}
	})
	s := &Scene{ctx: t.Context(), API: api, Server: "ours", Chance: rand.New(rand.NewPCG(pickSeed(), 0)), healthy: healthy,
		kinds: kinds, shelves: map[string]*shelf{}, record: NewRecord(file)}
	for _, k := range kinds {
		s.shelves[k.name] = &shelf{}
	}
	s.prepare(t)
	s.cast(t)
	return s
}

// prepare makes what the kinds need, and their sentinels.
func (s *Scene) prepare(t *testing.T) {
	t.Helper()
	for _, k := range s.kinds {
		switch k.name {
		case custom:
			s.API.KubectlInput(t, gadgetCRD, "create", "-f", "-")
		case aggregated:
			etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
			t.Cleanup(func() { etcd.End(10 * time.Second) })
			harness.StartSample(t, s.API, etcd, "faults").Register(t, s.API)
		}
	}
	for _, k := range s.kinds {
		c := s.client(t, k, -1)
		harness.Eventually(t, harness.StartBound, "a sentinel of "+k.name, func() error {
			if op := c.do(0, sentinel, Create); op.Outcome != Done && op.Outcome != Exists {
				return errors.New(op.Said)
			}
			return nil
		})
	}
}

func (s *Scene) client(t *testing.T, k kind, id int) *client {
	t.Helper()
	c := &client{id: id, kind: k, shelf: s.shelves[k.name], record: s.record, values: &s.values, seen: map[string]Version{}}
	c.chance = rand.New(rand.NewPCG(pickSeed(), uint64(id)))
	c.http, c.host = harness.Must2(newHTTP(s.API.Config(t)))(t)
	return c
}

// cast starts the watchers, which go on to the end of the test, and makes the
// clients.
func (s *Scene) cast(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for _, k := range s.kinds {
		for range clientsPerKind {
			s.clients = append(s.clients, s.client(t, k, len(s.clients)))
		}
		for _, restless := range []bool{false, true} {
			w := harness.Must(newWatcher(s.API.Config(t), k, restless, s.record, rand.New(rand.NewPCG(pickSeed(), uint64(100+len(s.judges))))))(t)
			s.judges = append(s.judges, &watched{watcher: w})
			go w.run(ctx)
			harness.Eventually(t, harness.StartBound, "the watcher has listed", func() error {
				if w.at() == 0 {
					return errors.New("it has not; what is written before that it is not shown")
				}
				return nil
			})
		}
	}
}
