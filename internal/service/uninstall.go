package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/tier"
)

// Uninstall takes away what Install brought, among it documents by their paths. Settings and data stay unless purge.
// What is not there is no error.
func (h *Host) Uninstall(documents []string, purge bool) ([]Step, error) {
	h.steps = nil
	if purge {
		for _, folder := range data() {
			if err := h.ours(folder); err != nil {
				return nil, err
			}
		}
	}
	var errs []error
	for _, name := range units {
		errs = append(errs, h.remove(Units+"/"+name))
	}
	errs = append(errs, h.remove(Users), h.unlink(Command, Programs+"/supervisor"))
	for _, name := range append(programs(), shared) {
		errs = append(errs, h.remove(Programs+"/"+name))
	}
	errs = append(errs, h.removeEmpty(Programs))
	for _, path := range documents {
		errs = append(errs, h.remove(path))
	}
	for _, path := range slices.Concat([]string{Flags, Settings}, data()) {
		errs = append(errs, h.settle(path, purge))
	}
	return h.steps, errors.Join(errs...)
}

// data are the data directories of all units.
func data() []string {
	all := []string{Data}
	for _, name := range tier.Order {
		all = append(all, Data+"-"+string(name))
	}
	return all
}

// ours refuses to purge what is no data directory.
func (h *Host) ours(folder string) error {
	entries, err := os.ReadDir(h.at(folder))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look at what is to be purged: %w", err)
	}
	if !(datadir.Dir{Root: h.at(folder)}).Marked() {
		return fmt.Errorf("cannot purge %s: it is no data directory of a supervisor: look at what it holds, and remove it by hand", h.at(folder))
	}
	return nil
}

func (h *Host) remove(path string) error {
	if _, err := os.Lstat(h.at(path)); errors.Is(err, fs.ErrNotExist) {
		h.did(path, Absent)
		return nil
	}
	h.did(path, Removed)
	if h.Dry {
		return nil
	}
	return os.Remove(h.at(path))
}

// removeEmpty removes a folder that holds nothing of somebody else's.
func (h *Host) removeEmpty(path string) error {
	if h.Dry {
		h.did(path, Removed)
		return nil
	}
	entries, err := os.ReadDir(h.at(path))
	if err == nil && len(entries) > 0 {
		h.did(path, Kept)
		return nil
	}
	return h.remove(path)
}

func (h *Host) unlink(path, to string) error {
	if before, err := os.Readlink(h.at(path)); !errors.Is(err, fs.ErrNotExist) && (err != nil || before != to) {
		h.did(path, Kept)
		return nil
	}
	return h.remove(path)
}

// settle keeps what cannot be had again, unless it is to be purged.
func (h *Host) settle(path string, purge bool) error {
	_, err := os.Lstat(h.at(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		h.did(path, Absent)
		return nil
	case !purge:
		h.did(path, Kept)
		return nil
	}
	h.did(path, Removed)
	if h.Dry {
		return nil
	}
	return os.RemoveAll(h.at(path))
}

// Running are the data directories of the host on which a supervisor runs, as far as running tells.
func (h *Host) Running(running func(datadir.Dir) bool) []string {
	var all []string
	for _, folder := range data() {
		if running(datadir.Dir{Root: filepath.Join(h.Root, folder)}) {
			all = append(all, folder)
		}
	}
	return all
}
