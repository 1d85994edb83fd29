package faults

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// stopBound is for a stop with a dozen watches, of which some are of an API server
// behind the head: all are ended at once, and nobody is waited for.
const stopBound = 25 * time.Second

// exits of a supervisor that is told to stop once, and once more.
var exits = map[bool][]int{false: {0}, true: {0, 4, 143, -1}}

// stop sends SIGTERM once or twice, and starts a new supervisor.
func (p *Plane) stop(t *testing.T, twice bool) {
	t.Helper()
	old, began, metronome := p.Cluster, time.Now(), startMetronome()
	old.Signal(syscall.SIGTERM)
	if twice {
		last(time.Duration(p.Chance.IntN(500)) * time.Millisecond)
		old.Signal(syscall.SIGTERM)
	}
	code, err := old.Wait(harness.StopBound)
	// However slow the machine: who waits for a watch waits for longer than a minute.
	took, bound := time.Since(began), min(time.Duration(float64(stopBound)*metronome.end()), time.Minute)
	switch {
	case err != nil:
		t.Error(err)
		old.Signal(syscall.SIGKILL)
	case !slices.Contains(exits[twice], code):
		t.Errorf("the stop ended with %d:\n%s", code, old.Output)
	}
	if took > bound {
		t.Errorf("the stop took longer than %v, %v:\n%s", bound, took, old.Output)
	}
	t.Logf("stopped after %v of %v", took.Round(time.Millisecond), bound.Round(time.Second))
	if !twice && err == nil {
		inOrder(t, old.Output.Lines())
	}
	p.gone(t)
	p.launch(t)
}

// inOrder expects the head, core, extensions and etcd to have stopped in this order.
func inOrder(t *testing.T, printed []string) {
	t.Helper()
	at := -1
	for _, name := range []string{"aggregator-0: stopped", "core-0: stopped", "extensions-0: stopped", "etcd: stopped"} {
		next := slices.IndexFunc(printed, func(line string) bool { return strings.HasPrefix(line, name) })
		if next < 0 || next < at {
			t.Errorf("not stopped in the order of the chain: %q is line %d, after %d:\n%s", name, next, at, strings.Join(printed, "\n"))
		}
		at = max(at, next)
	}
}

// A stop under load and a second signal lose nothing and end in seconds, and what was
// stopped starts again.
func TestStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	p := openPlane(t, harness.Options{})
	for range often(1, 20) {
		p.Play(t, Fault{Name: "SIGTERM", Budget: 30 * time.Second, Break: func(t *testing.T) { p.stop(t, false) }})
		p.Play(t, Fault{Name: "SIGTERM twice", Budget: 30 * time.Second, Break: func(t *testing.T) { p.stop(t, true) }})
	}
	p.Play(t, Fault{Name: "SIGTERM etcd", Budget: 30 * time.Second, Break: func(t *testing.T) {
		pid := p.pid(t, "etcd")
		p.strike()
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, goneBound, "the status knows that etcd has exited", func() error {
			if p.pid(t, "etcd") == pid {
				return fmt.Errorf("it is still said to be %d", pid)
			}
			return nil
		})
	}})
	p.Play(t, Fault{Name: "port taken", Budget: 30 * time.Second, Break: p.takePort})
	p.settled(t)
}

// steps of a start, as the supervisor prints them.
var steps = func() []string {
	all := []string{"etcd: starting", "etcd: ready"}
	for _, replica := range []string{"extensions", "core", "aggregator"} {
		for _, stage := range []string{"starting", "configured", "constructed", "prepared", "ready"} {
			all = append(all, replica+"-0: "+stage)
		}
	}
	return all
}()

// Whatever happens at whatever step of a start, the start or the next one comes to its
// end, with what was there before.
func TestKilledOrStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	p := openPlane(t, harness.Options{})
	signals := []string{"SIGTERM", "SIGTERM twice"}
	// What chance picks seldom: an etcd that is killed before it was ever ready is no reason to give up.
	p.whileStarting(t, "etcd", "etcd: starting")
	for i := range kills() {
		dying := processes
		if i < often(1, 5) {
			dying = append(signals, processes...)
		}
		for _, what := range dying {
			p.whileStarting(t, what, steps[p.Chance.IntN(len(steps))])
		}
	}
	if *long { // each signal at each step, and not at some
		for _, step := range steps {
			for _, what := range signals {
				p.whileStarting(t, what, step)
			}
		}
	}
	p.settled(t)
}

func (p *Plane) whileStarting(t *testing.T, what, step string) {
	t.Helper()
	if t.Failed() {
		return // what is broken goes on to be
	}
	name := "kill -9 " + what + " while starting"
	if strings.HasPrefix(what, "SIGTERM") {
		name = what + " while starting"
	}
	p.Play(t, Fault{Name: name, Budget: 45 * time.Second, Break: func(t *testing.T) {
		p.kill(t, "supervisor")
		harness.Eventually(t, harness.StartBound, step, func() error { return p.Cluster.Output.Contains(step) })
		t.Logf("%s at %q", what, step)
		switch what {
		case "SIGTERM":
			p.interrupt(t)
		case "SIGTERM twice":
			p.stop(t, true)
		default:
			p.killChild(t, what)
		}
		p.strike()
	}})
}

// interrupt is a stop at any moment of a start: exit code 0 is for one that was ready.
func (p *Plane) interrupt(t *testing.T) {
	t.Helper()
	p.Cluster.Signal(syscall.SIGTERM)
	if _, err := p.Cluster.Wait(harness.StopBound); err != nil {
		t.Errorf("%v:\n%s", err, p.Cluster.Output)
		p.Cluster.Signal(syscall.SIGKILL)
	}
	p.gone(t)
	p.launch(t)
}

// killChild kills a process of a supervisor that has no status yet. One that is not
// there yet is let live.
func (p *Plane) killChild(t *testing.T, name string) {
	t.Helper()
	if name == "supervisor" {
		p.kill(t, name)
		return
	}
	for _, proc := range harness.ProcsOf(p.options.Dir) {
		if program := proc.Args[0]; strings.HasSuffix(program, "/"+name) || name == "etcd" && len(proc.Args) > 1 && proc.Args[1] == "etcd" {
			syscall.Kill(proc.PID, syscall.SIGKILL)
		}
	}
}
