package faults

import (
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/test/harness"
)

// last is how long a fault lasts that has a duration.
func last(d time.Duration) { <-time.After(d) }

// pause stops a process for d, and wakes it if it is still there.
func (p *Plane) pause(t *testing.T, name string, d time.Duration) {
	t.Helper()
	standStill(t, p.pid(t, name), d)
}

func standStill(t *testing.T, pid int, d time.Duration) {
	t.Helper()
	args := harness.ArgsOf(pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	last(d)
	if slices.Equal(args, harness.ArgsOf(pid)) { // and nobody else has its number
		syscall.Kill(pid, syscall.SIGCONT)
	}
}

// stutter has a process stand still for still of every period: with 250 of 300 ms what
// waits for etcd's fsync waits that much longer, with 90 of 100 ms the process has a tenth
// of a CPU.
func (p *Plane) stutter(t *testing.T, name string, still, period, d time.Duration) {
	t.Helper()
	pid := p.pid(t, name)
	for end := time.Now().Add(d); time.Now().Before(end) && harness.Alive(pid); last(period - still) {
		standStill(t, pid, still)
	}
}

// withoutDescriptors leaves a process none to open for d, while new clients come.
func (p *Plane) withoutDescriptors(t *testing.T, name string, d time.Duration) {
	t.Helper()
	pid := p.pid(t, name)
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: uint64(descriptorsOf(pid)), Max: before.Max}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &none, nil); err != nil {
		t.Fatal(err)
	}
	crowd := harness.MustLoad(t, p.API.Config(t), 20, []string{kinds[0].path + "/" + sentinel, kinds[1].path + "/" + sentinel},
		func(harness.Answer, error) bool { return true })
	last(d)
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil); err != nil && err != unix.ESRCH {
		t.Fatal(err)
	}
	crowd.Stop()
}

// takePort kills the supervisor and listens where it did. The next one says so and exits,
// and the one after that has the port again.
func (p *Plane) takePort(t *testing.T) {
	t.Helper()
	before := p.own()
	if err := syscall.Kill(p.Cluster.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.gone(t, before...)
	var l net.Listener
	harness.Eventually(t, goneBound, "the port is free", func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
		return err
	})
	p.launch(t)
	code, err := p.Cluster.Wait(harness.StartBound)
	if err != nil || code != 1 || p.Cluster.Output.Contains("the port is taken") != nil {
		t.Errorf("with its port taken it exits with %d, %v: %s", code, err, p.Cluster.Output)
	}
	l.Close()
	p.launch(t)
}

// passMemoryLimit has extensions answer so much at once that it is killed for its memory.
func (p *Plane) passMemoryLimit(t *testing.T) {
	t.Helper()
	const objects, size = 30, 1 << 20
	before := p.pid(t, "extensions")
	config := p.API.Config(t)
	for i := range objects {
		body := fmt.Sprintf(`{"apiVersion":%q,"kind":"Gadget","metadata":{"name":"bulk-%d"},"data":%q}`, kinds[1].apiVersion, i, filling(size))
		if got, err := harness.Send(t.Context(), config, "POST", kinds[1].path, body, "Content-Type", "application/json"); err != nil || got.Code != 201 {
			t.Fatal(got, err)
		}
	}
	// What is not to be read by people leaves item by item, and takes next to nothing.
	crowd := harness.MustLoad(t, config, 40, []string{kinds[1].path + "?pretty=true"}, func(harness.Answer, error) bool { return true })
	harness.Eventually(t, time.Minute, "extensions is killed for its memory", func() error {
		if now := p.pid(t, "extensions"); now == before {
			return fmt.Errorf("it is still %d", now)
		}
		return nil
	})
	crowd.Stop()
	for i := range objects {
		harness.Eventually(t, harness.StartBound, "the bulk is gone", func() error {
			got, err := harness.Send(t.Context(), config, "DELETE", fmt.Sprintf("%s/bulk-%d", kinds[1].path, i), "")
			if err == nil && got.Code != 200 && got.Code != 404 {
				err = fmt.Errorf("%s", got)
			}
			return err
		})
	}
}

func filling(size int) string {
	return string(slices.Repeat([]byte("x"), size))
}
