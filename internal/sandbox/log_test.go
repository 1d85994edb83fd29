package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// escapes says in which mode the child, this test's own binary, does what no process has need of.
const escapes = "TRIPTYCH_TEST_ESCAPES"

func TestMain(m *testing.M) {
	mode := Mode(os.Getenv(escapes))
	if mode == "" {
		os.Exit(m.Run())
	}
	if err := Enter(mode, Profile{}); err != nil {
		fmt.Println("enter:", err)
		os.Exit(1)
	}
	_, err := unix.MemfdCreate("escape", 0)
	fmt.Println("call:", err)
	_, err = os.ReadFile(os.Getenv(escapes + "_FILE"))
	fmt.Println("file:", err)
}

// escaped is what a child with that mode and name says.
func escaped(t *testing.T, mode Mode, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), escapes+"="+string(mode), escapes+"_FILE="+file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// What enforce refuses is done with log.
func TestLogRefusesNothing(t *testing.T) {
	if said := escaped(t, Enforce, "enforced"); !strings.Contains(said, "call: operation not permitted") || landlockABI() > 0 && !strings.Contains(said, "permission denied") {
		t.Errorf("with enforce: %s", said)
	}
	if said := escaped(t, Log, "logged"); said != "call: <nil>\nfile: <nil>\n" {
		t.Errorf("with log: %s", said)
	}
}

// The kernel's log has the name of who made a system call that would be refused, and its number. Where auditd runs, that has it; who may
// not read the kernel's log sees nothing.
func TestTheKernelLogsWhatWouldBeRefused(t *testing.T) {
	kernel, err := os.Open("/dev/kmsg")
	actions, _ := os.ReadFile("/proc/sys/kernel/seccomp/actions_logged")
	_, auditd := os.Stat("/run/auditd.pid")
	if err != nil || auditd == nil || !slices.Contains(strings.Fields(string(actions)), "log") {
		t.Logf("the kernel's log: %v, actions that it logs: %s", err, actions)
		return
	}
	defer kernel.Close()
	if _, err := kernel.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("escape-%x", time.Now().UnixNano()%(1<<32)) // which no other process has
	record, number := fmt.Sprintf(" comm=%q ", name), fmt.Sprintf(" syscall=%d ", unix.SYS_MEMFD_CREATE)
	for range 5 { // the kernel leaves records out while it has many to write
		escaped(t, Log, name)
		if logged(t, kernel, "type=1326 ", record, number) {
			return
		}
	}
	t.Errorf("the kernel's log has no record with %s and %s", record, number)
}

// logged waits a while for a line with all words.
func logged(t *testing.T, kernel *os.File, words ...string) bool {
	t.Helper()
	if err := kernel.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for buffer := make([]byte, 16<<10); ; {
		n, err := kernel.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		} else if err != nil && !errors.Is(err, unix.EPIPE) { // which says that lines were overwritten
			t.Fatal(err)
		}
		line := string(buffer[:max(n, 0)])
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return true
		}
	}
}
