package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TempDir is t.TempDir with a short path: a unix socket's path has 108 bytes,
// and the name of a test alone can take them. Tiers that are users of their own can
// pass it on the way to what they know the name of.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// letThrough opens the temporary folders on the way to dir to processes of other users.
func letThrough(dir string) error {
	for folder := filepath.Dir(dir); strings.HasPrefix(folder, os.TempDir()+"/"); folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if err := os.Chmod(folder, info.Mode().Perm()|0o011); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes content to path, or fails the test.
func WriteFile(t testing.TB, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}
