package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

const (
	// LifelineFD is the number of the lifeline in every child.
	LifelineFD = 3
	// FirstFD is the number of the first of Spec.Files; the others follow.
	FirstFD = 4
	// outputDelay bounds the wait for the rest of the output after an exit: a
	// grandchild may hold the pipe open for ever.
	outputDelay = 2 * time.Second
)

// Spec is what to run.
type Spec struct {
	// Path is the program, Args what follows its name, Env its whole environment.
	Path string
	Args []string
	Env  []string
	// Files are inherited from FirstFD on, and stay the caller's.
	Files []*os.File
	// Dir is where the process starts, an absolute path; empty is where we are.
	Dir string
	// User is whom the process runs as, nil for who we are.
	User *User
	// Room is what the process sees of the file system, the folder of its program too; nil for all
	// that we see. Where the machine allows none, Forker.NoRoom says so.
	Room *Room
	// Reword puts what the process says of its end in the words of the user; nil is as it is.
	Reword func(string) string
	// Log takes standard output and standard error.
	Log *Log
}

// Process is one running process.
type Process struct {
	cmd      *exec.Cmd
	lifeline *os.File // the write end
	done     chan struct{}
	exit     lifecycle.Exit
}

// Start starts a process of spec.
func (f *Forker) Start(spec Spec) (*Process, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a lifeline: %w", err)
	}
	defer theirs.Close()
	spec.Log.forget()
	cmd := command(spec, theirs)
	if err := f.start(cmd, spec.Room.with(filepath.Dir(cmd.Path))); err != nil {
		ours.Close()
		return nil, fmt.Errorf("cannot start %s: %w", spec.Path, err)
	}
	p := &Process{cmd: cmd, lifeline: ours, done: make(chan struct{})}
	go p.reap(spec)
	return p, nil
}

func command(spec Spec, lifeline *os.File) *exec.Cmd {
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Path = program(spec.Path)
	cmd.Env = spec.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean all of ours
	}
	cmd.ExtraFiles = append([]*os.File{lifeline}, spec.Files...)
	// The same writer twice: os/exec then makes one pipe, and lines keep their order.
	cmd.Stdout, cmd.Stderr = spec.Log, spec.Log
	cmd.WaitDelay = outputDelay
	cmd.Dir = spec.Dir
	// The signal is set after the user: to change the user takes it away.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if spec.User != nil {
		cmd.SysProcAttr.Credential = spec.User.credential()
	}
	return cmd
}

// program is the file that path leads to: what a link on the way names may have changed since the last start, and be out
// of sight in the Room. A file that goes by the name of path in its own folder too is run by it, because the kernel
// calls a process by the name that it was run by.
func program(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path // whoever runs it says what is wrong
	}
	named := filepath.Join(filepath.Dir(real), filepath.Base(path))
	file, err := os.Stat(real)
	if other, otherErr := os.Stat(named); err == nil && otherErr == nil && os.SameFile(file, other) {
		return named
	}
	return real
}

// reap waits for the exit. The group is killed while its leader is dead but not
// yet waited for: as long as it is not, no other group can have got its number.
func (p *Process) reap(spec Spec) {
	for {
		err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-p.PID(), unix.SIGKILL)
	_ = p.cmd.Wait()
	p.lifeline.Close()
	word := spec.Log.lastWord()
	if spec.Reword != nil {
		word = spec.Reword(word)
	}
	p.exit = exitOf(p.cmd.ProcessState, word)
	close(p.done)
}

func exitOf(state *os.ProcessState, lastWord string) lifecycle.Exit {
	e := lifecycle.Exit{Code: state.ExitCode(), Time: time.Now(), Reason: lastWord}
	if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		e.Signal = s.Signal()
	}
	return e
}

// PID returns the process' number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends sig; SIGKILL goes to the whole process group. A process that is
// gone already is no error.
func (p *Process) Signal(sig syscall.Signal) {
	if sig == syscall.SIGKILL {
		p.killGroup()
	}
	_ = p.cmd.Process.Signal(sig)
}

// killGroup does nothing once the leader was waited for: see reap.
func (p *Process) killGroup() {
	if p.cmd.Process.Signal(syscall.Signal(0)) == nil {
		_ = unix.Kill(-p.PID(), unix.SIGKILL)
	}
}

// Wait returns once the process is gone and was waited for.
func (p *Process) Wait() lifecycle.Exit {
	<-p.done
	return p.exit
}
