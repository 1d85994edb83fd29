package spine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"triptych.dev/triptych/test/harness"
)

// terminal is a program on a pseudo terminal, and what a user sees of it.
type terminal struct {
	*vt.SafeEmulator
	cmd *exec.Cmd
	pty *os.File
}

func startOnTerminal(t *testing.T, cmd *exec.Cmd, columns, lines int) *terminal {
	t.Helper()
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	term := &terminal{SafeEmulator: vt.NewSafeEmulator(columns, lines), cmd: cmd}
	term.pty = harness.Must(pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(columns), Rows: uint16(lines)}))(t)
	go io.Copy(term, term.pty) // ends with the program
	go io.Copy(term.pty, term) // what terminals are asked, they answer
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		term.Close()
		term.pty.Close()
	})
	return term
}

func (term *terminal) resize(t *testing.T, columns, lines int) {
	t.Helper()
	term.Resize(columns, lines)
	if err := pty.Setsize(term.pty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(lines)}); err != nil {
		t.Fatal(err)
	}
}

func (term *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := term.pty.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// text is what is on the screen, a line each.
func (term *terminal) text() []string {
	lines := make([]string, term.Height())
	for y := range lines {
		for x := range term.Width() {
			if cell := term.CellAt(x, y); cell != nil {
				lines[y] += cell.Content
			}
		}
		lines[y] = strings.TrimRight(lines[y], " ")
	}
	return lines
}

// shows waits until all of want is on the screen, and none of without.
func (term *terminal) shows(t *testing.T, bound time.Duration, want []string, without ...string) {
	t.Helper()
	harness.Eventually(t, bound, fmt.Sprintf("the screen shows %q without %q", want, without), func() error {
		screen := strings.Join(term.text(), "\n")
		for _, w := range want {
			if !strings.Contains(screen, w) {
				return fmt.Errorf("no %q in\n%s", w, screen)
			}
		}
		for _, w := range without {
			if strings.Contains(screen, w) {
				return fmt.Errorf("%q in\n%s", w, screen)
			}
		}
		return nil
	})
}

// On a terminal it is a screen that goes on: keys, sizes, the death of a tier and of the supervisor, and a terminal that is
// left as it was found.
func TestTopIsAScreenOnATerminal(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{})
	// The cluster's directory by another name: what is named like it is looked for when it has stopped.
	dir := filepath.Join(harness.TempDir(t), "d")
	if err := os.Symlink(c.Dir, dir); err != nil {
		t.Fatal(err)
	}
	term := startOnTerminal(t, exec.CommandContext(t.Context(), harness.Bin("supervisor"), "top", "--interval=300ms", "--data-dir", dir), 120, 30)
	table := []string{"Ready", "REPLICA", "REQ/S", "aggregator-0", "core-0", "extensions-0", "etcd"}
	term.shows(t, soon, table)
	if !term.IsAltScreen() || !term.CursorHidden() {
		t.Errorf("alternate screen %t, cursor hidden %t", term.IsAltScreen(), term.CursorHidden())
	}

	term.press(t, "?")
	term.shows(t, soon, []string{"select a process", "STAGE"}, "aggregator-0")
	term.press(t, "x")
	term.shows(t, soon, table, "select a process")

	selected := func() string {
		for _, line := range term.text() {
			if name, ok := strings.CutPrefix(line, "LOG of "); ok {
				return name
			}
		}
		return ""
	}
	term.press(t, "l")
	term.shows(t, soon, []string{"LOG of "}, "reading")
	before := selected()
	term.press(t, "\x1b[B") // down
	harness.Eventually(t, soon, "the log of the next process", func() error {
		if now := selected(); now == before || now == "" {
			return fmt.Errorf("%q before, %q now", before, now)
		}
		return nil
	})
	term.press(t, "e")
	term.shows(t, soon, []string{"EVENTS of "}, "LOG of ")
	term.press(t, "\x1b")
	term.shows(t, soon, table, "EVENTS of ")

	// A phone's width: the table loses columns, no line is wrapped.
	term.resize(t, 46, 14)
	term.shows(t, soon, []string{"REPLICA", "aggregator-0", "core-0", "extensions-0"}, "HOP")
	if lines := term.text(); strings.Count(strings.Join(lines, "\n"), "core-0") > 2 {
		t.Errorf("wrapped:\n%s", strings.Join(lines, "\n"))
	}
	term.resize(t, 120, 30)
	term.shows(t, soon, append(table, "HOP"))

	s := c.WaitReady(t)
	if err := syscall.Kill(replicaStatus(s, "core", 0).PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.WaitStatus(t, harness.StartBound, "core is back", func(now harness.Status) bool {
		return now.Phase == "Ready" && replicaStatus(now, "core", 0).Restarts > 0
	})
	harness.Eventually(t, soon, "the restart is shown", func() error {
		for _, line := range term.text() {
			if f := strings.Fields(line); len(f) > 2 && strings.Contains(line, "core-0") && f[len(f)-2] == "1" {
				return nil
			}
		}
		return errors.New(strings.Join(term.text(), "\n"))
	})

	c.Stop(t)
	term.shows(t, soon, []string{"AWAY for", "core-0"})
	term.press(t, "q")
	if err := term.cmd.Wait(); err != nil {
		t.Errorf("q: %v", err)
	}
	harness.Eventually(t, soon, "the terminal is as it was", func() error {
		if term.IsAltScreen() || term.CursorHidden() {
			return fmt.Errorf("alternate screen %t, cursor hidden %t", term.IsAltScreen(), term.CursorHidden())
		}
		return nil
	})
}
