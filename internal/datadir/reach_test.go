package datadir

import (
	"os"
	"path/filepath"
	"testing"
)

func TestABarrierIsTheFirstFolderThatAUserCannotEnter(t *testing.T) {
	root, err := os.MkdirTemp("/tmp", "tt")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	d := Dir{Root: filepath.Join(root, "d")}
	for _, folder := range []string{d.Root, d.Run(), d.Handed("core")} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	barrier := func(want string) {
		t.Helper()
		if got := Barrier(d.Handed("core"), nobody, nobody); got != want {
			t.Errorf("the barrier is %q, want %q", got, want)
		}
	}
	barrier(root)
	if err := os.Chmod(root, 0o711); err != nil {
		t.Fatal(err)
	}
	barrier(d.Root)
	if err := d.LetThrough(); err != nil {
		t.Fatal(err)
	}
	barrier("")
	if got := Barrier(filepath.Join(root, "missing", "program"), nobody, nobody); got != "" {
		t.Errorf("what is missing is a barrier: %q", got)
	}
}
