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
