package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// Programs is a folder of the tiers' programs in which a test can break one.
type Programs struct{ Dir string }

// PrivateBinDir returns a folder of links to the real programs.
func PrivateBinDir(t testing.TB) *Programs {
	t.Helper()
	p := &Programs{Dir: TempDir(t)}
	for _, name := range []string{"aggregator", "core", "extensions"} {
		p.Mend(t, name)
	}
	return p
}

// NextBinDir returns a folder of links to the programs of a next release.
func NextBinDir(t testing.TB) *Programs {
	t.Helper()
	if err := Make("next"); err != nil {
		t.Fatal(err)
	}
	p := &Programs{Dir: TempDir(t)}
	for _, name := range []string{"aggregator", "core", "extensions", "supervisor"} {
		p.replace(t, name, func(path string) error { return os.Symlink(Bin("next/"+name), path) })
	}
	return p
}

// Remove takes a program away.
func (p *Programs) Remove(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(p.Dir, name)); err != nil {
		t.Fatal(err)
	}
}

// Wrap puts a script in the place of a program: script, in which $real is the program.
func (p *Programs) Wrap(t testing.TB, name, script string) {
	t.Helper()
	real := filepath.Join(p.Dir, name)
	if to, err := os.Readlink(real); err == nil { // one step: a program goes by its name
		real = to
	}
	p.replace(t, name, func(path string) error {
		return os.WriteFile(path, []byte("#!/bin/sh\nreal="+real+"\n"+script+"\n"), 0o755)
	})
}

// Break replaces a program by one that fails at once, as a broken release does.
func (p *Programs) Break(t testing.TB, name string) {
	t.Helper()
	p.replace(t, name, func(path string) error {
		return os.WriteFile(path, []byte("#!/bin/sh\necho cannot start: broken by a test >&2\nexit 1\n"), 0o755)
	})
}

// Mend puts the real program back.
func (p *Programs) Mend(t testing.TB, name string) {
	t.Helper()
	p.replace(t, name, func(path string) error { return os.Symlink(Bin(name), path) })
}

// Replace puts a copy of another program in the place of one.
func (p *Programs) Replace(t testing.TB, name, by string) {
	t.Helper()
	content := Must(os.ReadFile(by))(t)
	p.replace(t, name, func(path string) error { return os.WriteFile(path, content, 0o755) })
}

// replace makes the new program under another name and renames it: there is
// never none.
func (p *Programs) replace(t testing.TB, name string, write func(path string) error) {
	t.Helper()
	next := filepath.Join(p.Dir, name+".next")
	if err := write(next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(p.Dir, name)); err != nil {
		t.Fatal(err)
	}
}
