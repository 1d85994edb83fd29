package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// processes are what a supervisor runs, and itself.
var processes = []string{"extensions", "core", "aggregator", "etcd", "supervisor"}

// Plane is a Scene of ours.
type Plane struct {
	*Scene
	Cluster *harness.Cluster
	options harness.Options
	port    int // the secure one
	base    map[string]usage
	// beside are processes that mention the data directory and are not the
	// supervisor's: the sample server.
	beside []int
}

// firstStartBound is for machines with much else to do: how slow one is, is told round by
// round.
const firstStartBound = 10 * time.Minute

// openPlane starts a control plane with clients in front of it.
func openPlane(t *testing.T, o harness.Options) *Plane {
	t.Helper()
	if o.Dir == "" {
		o.Dir = harness.TempDir(t)
	}
	port := keptPort(t)
	o.Args = append(o.Args, fmt.Sprintf("--secure-port=%d", port))
	p := &Plane{options: o, port: port}
	// Whichever supervisor is the last one.
	t.Cleanup(func() {
		if err := p.Cluster.End(harness.StopBound); err != nil {
			t.Error(err)
		}
		p.gone(t)
	})
	p.launch(t)
	p.Cluster.WaitStatus(t, firstStartBound, "phase Ready", harness.IsReady)
	p.Scene = stage(t, &p.Cluster.API, kinds, p.healthy, func() string { return p.Cluster.KeepLogs(t.Name()) })
	for _, proc := range harness.ProcsOf(o.Dir) {
		if !slices.Contains(p.own(), proc.PID) {
			p.beside = append(p.beside, proc.PID)
		}
	}
	p.Play(t, Fault{Name: "nothing", Budget: 5 * time.Second})
	p.base = p.usage(t)
	return p
}

// keptPort returns a free port that nobody is given by chance, as those of
// harness.FreePort are: a supervisor that is killed has to find it free again.
func keptPort(t *testing.T) int {
	t.Helper()
	for {
		port := 20000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
}

// launch starts a supervisor on the data directory.
func (p *Plane) launch(t *testing.T) {
	t.Helper()
	p.Cluster = harness.Must(harness.Launch(p.options))(t)
}

func (p *Plane) healthy() error {
	select {
	case <-p.Cluster.Exited():
		return fmt.Errorf("the supervisor has exited with %d: %s", p.Cluster.Cmd.ProcessState.ExitCode(), p.Cluster.Output.String())
	default:
	}
	s, _, err := p.Cluster.Status()
	if err == nil && !harness.IsReady(s) {
		err = errors.New(s.String())
	}
	return err
}

// pid of one of processes, by the status.
func (p *Plane) pid(t *testing.T, name string) int {
	t.Helper()
	if name == "supervisor" {
		return p.Cluster.PID()
	}
	s, _, err := p.Cluster.Status()
	if err != nil {
		t.Fatal(err)
	}
	if name == "etcd" {
		return s.Etcd.PID
	}
	return s.Replica(name).PID
}

// kill ends a process as a crash would and waits until it is gone. A supervisor is started
// anew at once, and what the one before left has to go by itself.
func (p *Plane) kill(t *testing.T, name string) {
	t.Helper()
	pid, before := p.pid(t, name), p.own()
	p.strike()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, goneBound, name+" is gone", func() error {
		if harness.Alive(pid) {
			return fmt.Errorf("%d is alive", pid)
		}
		return nil
	})
	if name == "supervisor" {
		p.launch(t)
		p.gone(t, before...)
		return
	}
	// Until the supervisor knows, all seems well.
	harness.Eventually(t, goneBound, "the status knows of the death of "+name, func() error {
		if p.pid(t, name) == pid {
			return fmt.Errorf("%s is still said to be %d", name, pid)
		}
		return nil
	})
}

// goneBound is how long anything may outlive its supervisor.
const goneBound = 10 * time.Second

// gone waits until none of the processes is left, or none of the supervisor's at all.
func (p *Plane) gone(t *testing.T, pids ...int) {
	t.Helper()
	harness.Eventually(t, goneBound, "no orphan is left", func() error {
		left := p.own()
		if pids != nil {
			left = slices.DeleteFunc(left, func(pid int) bool { return !slices.Contains(pids, pid) })
		}
		if len(left) > 0 {
			return fmt.Errorf("left behind: %v", left)
		}
		return nil
	})
}

// own are the processes of the data directory but those beside.
func (p *Plane) own() (pids []int) {
	for _, proc := range harness.ProcsOf(p.options.Dir) {
		if !slices.Contains(p.beside, proc.PID) && !strings.HasSuffix(proc.Args[0], "sample-apiserver") {
			pids = append(pids, proc.PID)
		}
	}
	return pids
}

// usage is what a process holds.
type usage struct {
	descriptors, goroutines int
	memory                  int64 // bytes, of its own
}

// usage of every process while there is no load.
func (p *Plane) usage(t *testing.T) map[string]usage {
	t.Helper()
	all := map[string]usage{}
	for _, name := range processes {
		pid := p.pid(t, name)
		memory, err := harness.MemoryOf(pid)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = usage{descriptors: descriptorsOf(pid), memory: memory.Anonymous}
	}
	// By one connection: each look by another would be a descriptor of the head's more.
	metrics, err := p.clients[0].send(http.MethodGet, "/metrics", "", "")
	if err != nil || metrics.Code != http.StatusOK {
		t.Fatal(metrics, err)
	}
	for line := range strings.Lines(string(metrics.Body)) {
		rest, found := strings.CutPrefix(line, `go_goroutines{tier="`)
		name, count, _ := strings.Cut(rest, `"} `)
		if found {
			n, _ := strconv.ParseFloat(strings.TrimSpace(count), 64)
			u := all[name]
			u.goroutines = int(n)
			all[name] = u
		}
	}
	return all
}

// Room for what differs between two quiet moments; a leak grows with the rounds.
const (
	moreDescriptors = 40
	moreGoroutines  = 250
	moreMemory      = 96 << 20
	settleBound     = 90 * time.Second
)

// settled waits until every process holds about what it did before the first
// fault, and exactly the processes are there that should be.
func (p *Plane) settled(t *testing.T) {
	t.Helper()
	err := harness.Await(t.Context(), settleBound, "all processes hold what they did before the faults", func() error {
		if own := p.own(); len(own) != len(processes) {
			return fmt.Errorf("%d processes: %v", len(own), harness.ProcsOf(p.options.Dir))
		}
		var over []error
		for name, now := range p.usage(t) {
			before := p.base[name]
			if now.descriptors > before.descriptors+moreDescriptors || now.goroutines > before.goroutines*5/4+moreGoroutines ||
				now.memory > before.memory*3/2+moreMemory {
				over = append(over, fmt.Errorf("%s holds %+v, before it was %+v", name, now, before))
			}
		}
		return errors.Join(over...)
	})
	if err != nil {
		t.Error(err)
	}
}
