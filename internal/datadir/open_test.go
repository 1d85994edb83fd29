package datadir

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// holderVariable makes the test binary a second process that opens the
// directory, says so, and holds it until its stdin ends.
const holderVariable = "TRIPTYCH_TEST_DATADIR_HOLDER"

func TestMain(m *testing.M) {
	if root := os.Getenv(holderVariable); root != "" {
		if _, err := Open(root); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, root string) *Handle {
	t.Helper()
	h, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestOpenMakesEverythingForTheOwnerAlone(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "b")
	h := open(t, root)
	for _, folder := range []string{root, h.PKI(), h.InternalPKI(), h.EtcdPKI(), h.Etcd(), h.Log(), h.Run()} {
		info, err := os.Stat(folder)
		if err != nil {
			t.Fatal(err)
		}
		if !info.IsDir() || info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %s", folder, info.Mode())
		}
	}
	h.Close()
	open(t, root) // and it is ours the next time
}

func TestOpenClosesFoldersThatOthersCanEnter(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, root)
	if info, _ := os.Stat(root); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %s", info.Mode())
	}
}

// A supervisor that is refused must not lock out the processes of the one that runs.
func TestASecondOpenLeavesTheWayToOthersOpen(t *testing.T) {
	h := open(t, t.TempDir())
	if err := h.LetThrough(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(h.Root); err == nil {
		t.Fatal("opened twice")
	}
	for _, folder := range []string{h.Root, h.Run()} {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != throughMode {
			t.Errorf("%s: %v %v", folder, info.Mode(), err)
		}
	}
}

func TestARelativePathBecomesAbsolute(t *testing.T) {
	t.Chdir(t.TempDir())
	if h := open(t, "d"); !filepath.IsAbs(h.Root) {
		t.Errorf("root is %s", h.Root)
	}
}

// The user's own CA is dropped into DIR/pki before the first start; what a
// start that was cut short leaves, and mkfs, do not matter either.
func TestWhatMayBeThereBefore(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{"pki", "lost+found"} {
		if err := os.Mkdir(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "pki", "ca.crt"), "mine")
	write(t, filepath.Join(root, temporaryPrefix+"1"), "for")
	h := open(t, root)
	if b, _ := os.ReadFile(filepath.Join(h.PKI(), "ca.crt")); string(b) != "mine" {
		t.Errorf("ca.crt is %q", b)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		root func(t *testing.T) string
		want []string
	}{
		"no name": {func(*testing.T) string { return "" }, []string{"give --data-dir a directory"}},
		"a file": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "f")
			write(t, path, "")
			return path
		}, []string{"not a directory", "give --data-dir a directory"}},
		"below a file": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "f")
			write(t, path, "")
			return filepath.Join(path, "d")
		}, []string{"not a directory", "give --data-dir a directory"}},
		"unwritable": {func(*testing.T) string { return "/sys/triptych" },
			[]string{"make it writable", "another --data-dir"}},
		"somebody else's": {func(t *testing.T) string {
			root := t.TempDir()
			write(t, filepath.Join(root, "thesis.tex"), "")
			return root
		}, []string{"thesis.tex", "not a triptych's", "choose an empty or new directory"}},
		"newer": {func(t *testing.T) string { return marked(t, "format: 2") },
			[]string{"format 2 is newer than 1", "use the version of triptych that wrote it"}},
		"damaged": {func(t *testing.T) string { return marked(t, "formta: 1") },
			[]string{"damaged", `"format: 1"`}},
		"empty marker": {func(t *testing.T) string { return marked(t, "") }, []string{"damaged"}},
		"long": {func(t *testing.T) string { return filepath.Join(t.TempDir(), strings.Repeat("d", 100)) },
			[]string{"too long", "choose a shorter one"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := tc.root(t)
			before := list(t, root)
			_, err := Open(root)
			if err == nil {
				t.Fatal("not refused")
			}
			for _, want := range append(tc.want, "cannot use data directory "+root+": ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in %q", want, err)
				}
			}
			if after := list(t, root); after != before {
				t.Errorf("left something behind: %s, before: %s", after, before)
			}
		})
	}
}

func marked(t *testing.T, content string) string {
	root := t.TempDir()
	write(t, filepath.Join(root, markerName), content)
	return root
}

func list(t *testing.T, root string) string {
	entries, _ := os.ReadDir(root)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// hold starts a process that has root open until stdin is closed.
func hold(t *testing.T, root string) (holder *exec.Cmd, stdin io.Closer) {
	t.Helper()
	holder = exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderVariable+"="+root)
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 16)
	n, _ := stdout.Read(said)
	if !bytes.HasPrefix(said[:n], []byte("held")) {
		t.Fatalf("the holder said %q", said[:n])
	}
	return holder, stdin
}

func TestASecondSupervisorIsRefusedWhileTheFirstLives(t *testing.T) {
	root := filepath.Join(t.TempDir(), "d")
	holder, stdin := hold(t, root)
	_, err := Open(root)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != holder.Process.Pid {
		t.Errorf("error %v, want one that names pid %d", err, holder.Process.Pid)
	} else if !strings.Contains(err.Error(), "supervisor stop --data-dir "+root) {
		t.Errorf("no remedy in %q", err)
	}

	_ = holder.Process.Kill() // a crash leaves no lock behind
	_ = holder.Wait()
	stdin.Close()
	if h := open(t, root); !h.Killed {
		t.Error("it does not know that who held it was killed")
	}
}

func TestCloseGivesTheLockUp(t *testing.T) {
	root := t.TempDir()
	h := open(t, root)
	if _, err := Open(root); !errors.As(err, new(*LockedError)) {
		t.Fatalf("not locked: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if open(t, root).Killed {
		t.Error("it takes who gave it up for killed")
	}
}

func TestWriteFileReplacesAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "a long old content that everyone can read")
	if err := WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	info, _ := os.Stat(path)
	if string(b) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("%q %s", b, info.Mode())
	}
	if l := list(t, filepath.Dir(path)); l != "f" {
		t.Errorf("left %s", l)
	}
	if err := WriteFile(filepath.Join(path, "below"), nil, 0o600); err == nil || !strings.Contains(err.Error(), "cannot write") {
		t.Errorf("error %v", err)
	}
}
