package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errKilled = errors.New("killed")

// failAt has the nth step from now on fail, and returns how many there were.
func failAt(t *testing.T, n int) (steps *int) {
	t.Helper()
	steps = new(int)
	step = func() error {
		if *steps++; *steps == n {
			return errKilled
		}
		return nil
	}
	t.Cleanup(func() { step = func() error { return nil } })
	return steps
}

// begin opens a directory that has what is old, and stages what is new.
func begin(t *testing.T, folders ...string) *Handle {
	t.Helper()
	h, err := Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	staging, err := h.Stage()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		for root, is := range map[string]string{h.Root: "old", staging: "new"} {
			if err := os.MkdirAll(filepath.Join(root, folder, "below"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, folder, "below", "file"), []byte(is), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return h
}

// contents returns what each folder has.
func contents(t *testing.T, root string, folders ...string) string {
	t.Helper()
	var all []string
	for _, folder := range folders {
		data, err := os.ReadFile(filepath.Join(root, folder, "below", "file"))
		if err != nil {
			data = []byte("nothing")
		}
		all = append(all, string(data))
	}
	return strings.Join(all, " ")
}

// Whatever step of a replacement is the last, who opens the directory next finds all folders
// old or all new, and what was old is never lost.
func TestAReplacementThatIsCutShortIsDoneOrForgotten(t *testing.T) {
	folders := []string{"etcd", "pki"}
	forgotten, done := 0, 0
	for n := 1; ; n++ {
		h := begin(t, folders...)
		steps := failAt(t, n)
		_, err := h.Replace(folders...)
		if err == nil && *steps < n {
			if n < 6 {
				t.Errorf("only %d steps", *steps)
			}
			h.Close()
			break
		}
		h.Close()
		// The next one is cut short, too, and so is the one after that.
		for again := range 3 {
			failAt(t, again+1)
			if h, err := Open(h.Root); err == nil {
				h.Close()
			}
		}
		failAt(t, 0)
		h, err = Open(h.Root)
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		switch got := contents(t, h.Root, folders...); got {
		case "old old":
			forgotten++
		case "new new":
			done++
			aside, _ := filepath.Glob(filepath.Join(h.Root, "replaced-*"))
			if len(aside) != 1 || contents(t, aside[0], folders...) != "old old" {
				t.Errorf("step %d: aside is %v", n, aside)
			}
		default:
			t.Errorf("step %d: %s", n, got)
		}
		for _, left := range []string{stagingName, journalName} {
			if _, err := os.Stat(filepath.Join(h.Root, left)); err == nil {
				t.Errorf("step %d: %s is left", n, left)
			}
		}
		h.Close()
	}
	if forgotten == 0 || done == 0 {
		t.Errorf("%d were forgotten, %d done", forgotten, done)
	}
}

func TestAReplacementKeepsWhatWasThereAndOnlyThat(t *testing.T) {
	h := begin(t, "etcd", "pki")
	defer h.Close()
	aside, err := h.Replace("etcd")
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, h.Root, "etcd", "pki"); got != "new old" {
		t.Error(got)
	}
	if got := contents(t, aside, "etcd", "pki"); got != "old nothing" {
		t.Error(got)
	}
	if _, err := h.Replace("log"); err == nil {
		t.Error("the logs were replaced")
	}
}

func TestEmptyFoldersAreNotKept(t *testing.T) {
	h, err := Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	staging, err := h.Stage()
	if err == nil {
		err = os.MkdirAll(filepath.Join(staging, "pki"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(staging, "pki", "ca.crt"), nil, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	aside, err := h.Replace("pki")
	if err != nil || aside != "" {
		t.Errorf("aside %q: %v", aside, err)
	}
	if _, err := os.Stat(filepath.Join(h.PKI(), "ca.crt")); err != nil {
		t.Error(err)
	}
}

func TestADamagedJournalIsToldAndNothingTouched(t *testing.T) {
	h := begin(t, "etcd")
	if err := os.WriteFile(h.journal(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if _, err := Open(h.Root); err == nil || !strings.Contains(fmt.Sprint(err), journalName) {
		t.Errorf("%v", err)
	}
	if got := contents(t, h.Root, "etcd"); got != "old" {
		t.Error(got)
	}
}
