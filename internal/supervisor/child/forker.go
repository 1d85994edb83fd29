package child

import (
	"os/exec"
	"runtime"
	"sync"
)

// Forker starts processes, all from the same thread. The zero value is not
// usable: see NewForker.
type Forker struct {
	work chan func()
	done chan struct{}
	once sync.Once
}

// NewForker returns a Forker whose thread lives until Close.
func NewForker() *Forker {
	f := &Forker{work: make(chan func()), done: make(chan struct{})}
	go f.loop()
	return f
}

// loop never unlocks the thread: a goroutine that ends while locked takes its
// thread along, and with it every child that Close should have found gone.
func (f *Forker) loop() {
	runtime.LockOSThread()
	for {
		select {
		case do := <-f.work:
			do()
		case <-f.done:
			return
		}
	}
}

// Close ends the thread, and with SIGKILL every process that still runs.
func (f *Forker) Close() { f.once.Do(func() { close(f.done) }) }

func (f *Forker) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	f.work <- func() { result <- cmd.Start() }
	return <-result
}
