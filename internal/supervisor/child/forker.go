package child

import (
	"errors"
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
	home *home // nil where children are no users of their own

	mu     sync.Mutex
	noRoom error // of the last try
}

// NewForker returns a Forker whose thread lives until Close. users says that children may be users of
// their own, which only root can start; an error that not even root can here.
func NewForker(users bool) (*Forker, error) {
	f := &Forker{work: make(chan func()), done: make(chan struct{})}
	go f.loop()
	settled := make(chan error, 1)
	f.work <- func() {
		var err error
		f.home, err = settle(users)
		if err == nil && f.home != nil {
			f.noRoom = f.home.within(Room{}, func() error { return nil })
		}
		settled <- err
	}
	if err := <-settled; err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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

// NoRoom is why processes that are to have a Room are started without one, nil
// if they have one.
func (f *Forker) NoRoom() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.noRoom
}

func (f *Forker) start(cmd *exec.Cmd, room *Room) error {
	result := make(chan error, 1)
	f.work <- func() { result <- f.startIn(cmd, room) }
	return <-result
}

// startIn is for the forking thread.
func (f *Forker) startIn(cmd *exec.Cmd, room *Room) error {
	if room == nil || f.home == nil {
		return cmd.Start()
	}
	err := f.home.within(*room, cmd.Start)
	without := noRoomError{}
	f.mu.Lock()
	f.noRoom = nil
	if errors.As(err, &without) {
		f.noRoom = without.err
	}
	f.mu.Unlock()
	if without.err != nil {
		return cmd.Start()
	}
	return err
}
