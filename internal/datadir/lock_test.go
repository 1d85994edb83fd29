package datadir

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// The lock of a supervisor that was killed is held until its last thread has ended.
func TestWhoIsDyingIsWaitedFor(t *testing.T) {
	h := open(t, t.TempDir())
	h.Close()
	d := h.Dir
	last, err := os.Create(d.Lock())
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if err := errors.Join(unix.Flock(int(last.Fd()), unix.LOCK_EX), writePID(last)); err != nil {
		t.Fatal(err)
	}
	asked := 0
	f, left, err := acquire(d, func(pid int) bool {
		if asked++; asked == 2 {
			unix.Flock(int(last.Fd()), unix.LOCK_UN)
		}
		return pid == os.Getpid()
	})
	if err != nil || left != os.Getpid() || asked != 2 {
		t.Fatalf("asked %d times for %d: %v", asked, left, err)
	}
	f.Close()
}

// However far its end has come, a supervisor that was killed does not keep the next one out.
func TestWhoWasKilledKeepsNobodyOut(t *testing.T) {
	root := t.TempDir()
	for range 50 {
		holder, stdin := hold(t, root)
		if err := holder.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		h, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if !h.Killed {
			t.Error("it does not know that who held it was killed")
		}
		h.Close()
		_ = holder.Wait()
		stdin.Close()
	}
}

func TestDyingAreTheDeadAndNotTheLiving(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if pid := child.Process.Pid; isDying(0) || isDying(os.Getpid()) || isDying(pid) {
		t.Error("the living are said to be dying")
	}
	child.Process.Kill()
	if !isDying(child.Process.Pid) {
		t.Error("who was killed a moment ago is said to live")
	}
	if err := unix.Waitid(unix.P_PID, child.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if !isDying(child.Process.Pid) {
		t.Error("a zombie is said to live")
	}
	child.Wait()
	if !isDying(child.Process.Pid) {
		t.Error("who is gone is said to live")
	}
}
