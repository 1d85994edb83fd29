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

// programs are the names of the four.
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
	errs := []error{h.folder(Programs, 0o755)}
	for _, name := range programs() {
		errs = append(errs, h.program(filepath.Join(from, name), Programs+"/"+name))
	}
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

func (h *Host) program(from, path string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot read a program: %w", err)
	}
	before, err := os.ReadFile(h.at(path))
	switch {
	case err == nil && bytes.Equal(before, content):
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
