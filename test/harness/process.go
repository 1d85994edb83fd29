package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a child of the test. It dies with the test, and what it printed is
// kept.
type Process struct {
	Cmd *exec.Cmd
	// Output is what it printed, both streams in the order of arrival.
	Output *Output

	exited chan struct{}
}

// forks is where processes are forked: Pdeathsig fires when the thread that
// forked ends, and this one lasts as long as the test.
var forks = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// StartProcess starts path with args. onDeath is the signal that the child gets
// if the test dies.
func StartProcess(onDeath syscall.Signal, env []string, path string, args ...string) (*Process, error) {
	p := &Process{Cmd: exec.Command(path, args...), Output: newOutput(), exited: make(chan struct{})}
	p.Cmd.Env = append(os.Environ(), env...)
	p.Cmd.Stdout, p.Cmd.Stderr = p.Output, p.Output
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onDeath}
	// A grandchild may hold the pipe of our Output open: do not wait for it.
	p.Cmd.WaitDelay = 2 * time.Second
	started := make(chan error)
	forks() <- func() { started <- p.Cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", path, err)
	}
	go func() {
		p.Cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// PID of the process, alive or not.
func (p *Process) PID() int { return p.Cmd.Process.Pid }

// Exited is closed when the process has been reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Signal sends sig to the process alone; one that has exited is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.Cmd.Process.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Wait returns the exit code (-1: killed by a signal), or an error if the
// process is still alive after bound.
func (p *Process) Wait(bound time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	select {
	case <-p.exited:
		return p.Cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("process %d (%s) is alive %v after it should have ended", p.PID(), p.Cmd.Path, bound)
	}
}

// End asks the process to stop and kills it if it does not within bound.
func (p *Process) End(bound time.Duration) error {
	p.Signal(syscall.SIGTERM)
	_, err := p.Wait(bound)
	if err != nil {
		p.Signal(syscall.SIGKILL)
		<-p.exited
	}
	return err
}

// Output collects what a process prints.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func newOutput() *Output { return &Output{} }

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String returns everything so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Lines returns everything so far, line by line.
func (o *Output) Lines() []string {
	return strings.Split(strings.TrimRight(o.String(), "\n"), "\n")
}

// Contains returns an error unless text was printed.
func (o *Output) Contains(text string) error {
	if !strings.Contains(o.String(), text) {
		return fmt.Errorf("%q was not printed", text)
	}
	return nil
}
