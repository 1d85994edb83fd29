package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"triptych.dev/triptych/deploy"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/tier"
)

// units are the files of deploy/systemd that systemd is given.
var units = []string{Unit, "triptych@.service"}

const firstFlags = `# Flags of supervisor run. They win over the files: better write there what is to be changed by supervisor reload.
TRIPTYCH_FLAGS="--config ` + Settings + `/supervisor.yaml"
`

const firstSettings = `# supervisor config explain lists what can be set here, supervisor config validate checks it.
apiVersion: supervisor.triptych.dev/v1alpha1
kind: SupervisorConfiguration
`

// programs are the names of the four. Each is a file, or a link to one beside it.
func programs() []string {
	all := []string{"supervisor"}
	for _, name := range tier.Order {
		all = append(all, string(name))
	}
	return all
}

// Install brings the programs of a folder, the units and the folders to the host, and documents by their paths.
// What is there already and the same is left alone, and so are settings. An error leaves the rest to be done by
// another call.
func (h *Host) Install(from string, documents map[string][]byte) ([]Step, error) {
	h.steps = nil
	for _, name := range programs() {
		if info, err := os.Stat(filepath.Join(from, name)); err != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("cannot install from %s: it has no program %s: give the folder with all four by --from", from, name)
		}
	}
	errs := []error{h.folder(Programs, 0o755), h.programs(from)}
	errs = append(errs, h.link(Command, Programs+"/supervisor"))
	for _, name := range units {
		errs = append(errs, h.deployed(name, Units+"/"+name))
	}
	errs = append(errs, h.deployed("triptych.sysusers", Users))
	for _, path := range sorted(documents) {
		errs = append(errs, h.file(path, documents[path], true))
	}
	// Others pass the folder of the data on the way to what they are handed.
	errs = append(errs, h.folder(Settings, 0o755), h.file(Settings+"/supervisor.yaml", []byte(firstSettings), false),
		h.file(Flags, []byte(firstFlags), false), h.folder(Data, 0o711))
	return h.steps, errors.Join(errs...)
}

func sorted(documents map[string][]byte) []string {
	var all []string
	for path := range documents {
		all = append(all, path)
	}
	slices.Sort(all)
	return all
}

func (h *Host) at(path string) string { return filepath.Join(h.Root, path) }

func (h *Host) did(path, action string) {
	h.steps = append(h.steps, Step{Path: path, Action: action})
}

func (h *Host) folder(path string, mode os.FileMode) error {
	info, err := os.Stat(h.at(path))
	switch {
	case err == nil && info.IsDir():
		h.did(path, Unchanged)
		return nil
	case err == nil:
		return fmt.Errorf("cannot make the folder %s: a file is in its place", h.at(path))
	}
	h.did(path, Made)
	if h.Dry {
		return nil
	}
	if err := os.MkdirAll(h.at(path), 0o755); err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	return os.Chmod(h.at(path), mode)
}

func (h *Host) deployed(name, path string) error {
	content, err := deploy.Systemd.ReadFile("systemd/" + name)
	if err != nil {
		return err
	}
	return h.file(path, content, true)
}

// file writes a file. One that is there and says something else is replaced if it is ours.
func (h *Host) file(path string, content []byte, ours bool) error {
	before, err := os.ReadFile(h.at(path))
	switch {
	case err == nil && bytes.Equal(before, content):
		h.did(path, Unchanged)
		return nil
	case err == nil && !ours:
		h.did(path, Kept)
		return nil
	case err == nil:
		h.did(path, Changed)
	case errors.Is(err, fs.ErrNotExist):
		h.did(path, Made)
	default:
		return fmt.Errorf("cannot look at what is there: %w", err)
	}
	return h.write(path, content, 0o644)
}

// shared is the file beside them that several programs may be links to.
const shared = "tiers"

// programs brings those of a folder, as files and links as they are there: whoever copied what a link leads to would have
// it in memory once more.
func (h *Host) programs(from string) error {
	var errs []error
	files, links := []string{}, []string{}
	for _, name := range programs() {
		if to, err := os.Readlink(filepath.Join(from, name)); err == nil && to == shared {
			links = append(links, name)
		} else {
			files = append(files, name)
		}
	}
	if len(links) > 0 {
		files = append(files, shared)
	}
	for _, name := range files {
		errs = append(errs, h.program(filepath.Join(from, name), Programs+"/"+name))
	}
	if err := errors.Join(errs...); err != nil {
		return err // a link must not lead to what is not there
	}
	for _, name := range links {
		errs = append(errs, h.name(Programs+"/"+name))
	}
	return errors.Join(errs...)
}

// name makes path a link to the shared file beside it, whatever was there, and in one step.
func (h *Host) name(path string) error {
	before, err := os.Readlink(h.at(path))
	switch {
	case err == nil && before == shared:
		h.did(path, Unchanged)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		h.did(path, Made)
	default:
		h.did(path, Changed)
	}
	if h.Dry {
		return nil
	}
	next := h.at(path) + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(shared, next); err != nil {
		return fmt.Errorf("cannot make a link: %w", err)
	}
	return os.Rename(next, h.at(path))
}

func (h *Host) program(from, path string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot read a program: %w", err)
	}
	_, noLink := os.Readlink(h.at(path))
	before, err := os.ReadFile(h.at(path))
	switch {
	case err == nil && noLink != nil && bytes.Equal(before, content):
		h.did(path, Unchanged)
		return nil
	case err == nil:
		h.did(path, Changed)
	default:
		h.did(path, Made)
	}
	return h.write(path, content, 0o755)
}

func (h *Host) write(path string, content []byte, mode os.FileMode) error {
	if h.Dry {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.at(path)), 0o755); err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	// As a whole: a program that runs keeps what it has.
	if err := datadir.WriteFile(h.at(path), content, mode); err != nil {
		return fmt.Errorf("cannot write %s: %w", h.at(path), err)
	}
	return nil
}

// link makes path lead to what is called to on the host, unless something else is there.
func (h *Host) link(path, to string) error {
	before, err := os.Readlink(h.at(path))
	switch {
	case err == nil && before == to:
		h.did(path, Unchanged)
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		h.did(path, Kept)
		return nil
	}
	h.did(path, Made)
	if h.Dry {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.at(path)), 0o755); err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	return os.Symlink(to, h.at(path))
}
