package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// stagingName is where folders are made that are to take the place of others.
	stagingName = "staging"
	// journalName is there from when a replacement counts until it is done.
	journalName = "replace.json"
)

// Replaceable are the folders that Replace may put others in the place of.
var Replaceable = []string{"etcd", "pki", "restored", "migrated"}

// journal is a replacement that counts, and may not be done yet.
type journal struct {
	// Aside is the folder below the data directory that keeps what was there before.
	Aside   string   `json:"aside"`
	Folders []string `json:"folders"`
}

// Stage makes an empty folder inside the data directory, in which folders are made that
// Replace puts in the place of others. What an earlier one left is removed.
func (h *Handle) Stage() (string, error) {
	if err := h.Unstage(); err != nil {
		return "", err
	}
	if err := os.Mkdir(h.staging(), folderMode); err != nil {
		return "", fmt.Errorf("cannot make %s: %w", h.staging(), explain(err))
	}
	return h.staging(), nil
}

// Unstage removes what Stage made and Replace did not take.
func (h *Handle) Unstage() error {
	if err := os.RemoveAll(h.staging()); err != nil {
		return fmt.Errorf("cannot remove %s: %w", h.staging(), err)
	}
	return nil
}

// Replace puts the named folders of what Stage made in the place of those of the data
// directory: all of them, or none. What was there is kept in the folder it returns, which
// is empty if nothing was. The staged files must be synced. Once it counts it is done to the end, by
// the next Open if this process is killed.
func (h *Handle) Replace(names ...string) (aside string, err error) {
	for _, name := range names {
		if !slices.Contains(Replaceable, name) {
			return "", fmt.Errorf("cannot replace %s: it is none of %v", name, Replaceable)
		}
	}
	if err := SyncTree(h.staging()); err != nil {
		return "", err
	}
	j := journal{Aside: "replaced-" + time.Now().UTC().Format("20060102T150405.000Z"), Folders: names}
	data, err := json.Marshal(j)
	if err != nil {
		return "", err
	}
	if err := step(); err != nil {
		return "", err
	}
	if err := WriteFile(h.journal(), data, 0o600); err != nil {
		return "", err
	}
	if _, err := h.complete(); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(h.Root, j.Aside)); err != nil {
		return "", nil
	}
	return filepath.Join(h.Root, j.Aside), nil
}

func (d Dir) staging() string { return filepath.Join(d.Root, stagingName) }
func (d Dir) journal() string { return filepath.Join(d.Root, journalName) }

// step is called before each change; tests have it fail, as a process fails that is killed.
var step = func() error { return nil }

// complete does what is left of a replacement that counts, and tells whether there was one;
// of one that does not count it removes the beginnings. The caller holds the lock.
func (d Dir) complete() (done bool, err error) {
	data, err := os.ReadFile(d.journal())
	if errors.Is(err, fs.ErrNotExist) {
		return false, os.RemoveAll(d.staging())
	}
	if err != nil {
		return false, explain(err)
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil || !filepath.IsLocal(j.Aside) {
		return false, fmt.Errorf("%s is damaged: it says which folders of %s take the place of others", d.journal(), d.staging())
	}
	for _, name := range j.Folders {
		if err := d.replaceFolder(name, filepath.Join(d.Root, j.Aside)); err != nil {
			return false, err
		}
	}
	if err := errors.Join(syncFolder(d.Root), step()); err != nil {
		return false, err
	}
	if err := os.Remove(d.journal()); err != nil {
		return false, explain(err)
	}
	return true, errors.Join(syncFolder(d.Root), step(), os.RemoveAll(d.staging()))
}

// replaceFolder goes on wherever it was interrupted: a staged folder that is gone is in its
// place.
func (d Dir) replaceFolder(name, aside string) error {
	staged, here := filepath.Join(d.staging(), name), filepath.Join(d.Root, name)
	if _, err := os.Lstat(staged); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	info, err := os.Stat(here)
	switch {
	case err == nil && vacant(here):
		if err := errors.Join(chownLike(staged, info), os.RemoveAll(here)); err != nil {
			return explain(err)
		}
	case err == nil:
		if err := errors.Join(chownLike(staged, info), os.MkdirAll(aside, folderMode), step()); err != nil {
			return explain(err)
		}
		if err := os.Rename(here, filepath.Join(aside, name)); err != nil {
			return fmt.Errorf("cannot keep %s aside: %w", here, explain(err))
		}
		if err := errors.Join(syncFolder(aside), syncFolder(d.Root)); err != nil {
			return err
		}
	}
	if err := step(); err != nil {
		return err
	}
	if err := os.Rename(staged, here); err != nil {
		return fmt.Errorf("cannot put %s in place: %w", here, explain(err))
	}
	return nil
}

// vacant tells that there is no file in a folder or below.
func vacant(folder string) bool {
	found := errors.New("a file")
	return filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = found
		}
		return err
	}) == nil
}

// SyncTree makes all below root durable, names too.
func SyncTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := syncFolder(path); err != nil {
			return fmt.Errorf("cannot sync %s: %w", path, err)
		}
		return nil
	})
}
