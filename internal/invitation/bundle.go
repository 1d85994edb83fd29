package invitation

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"triptych.dev/triptych/internal/datadir"
)

// DataDir stands in files for the data directory of the host that joins.
const DataDir = "$DATA_DIR"

// Bundle is what is handed over.
type Bundle struct {
	Files []File `json:"files"`
}

// File is a file of the data directory.
type File struct {
	// Path is relative to the data directory, with slashes.
	Path string `json:"path"`
	// Data is its content; DataDir in it is replaced.
	Data []byte `json:"data"`
	// Public: others may read it.
	Public bool `json:"public,omitempty"`
}

// Add adds the file at path under the name of relative.
func (b *Bundle) Add(relative, path string, public bool) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b.Files = append(b.Files, File{Path: relative, Data: data, Public: public})
	return nil
}

// Unpack writes the files into d. None may be there yet: a host that has keys of its own
// is in a cluster already.
func (b *Bundle) Unpack(d datadir.Dir) error {
	for _, f := range b.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return fmt.Errorf("the bundle has a file %q outside of the data directory", f.Path)
		}
		if _, err := os.Lstat(f.in(d)); err == nil {
			return fmt.Errorf("%s is there already: join with a data directory of no other cluster", f.in(d))
		}
	}
	for _, f := range b.Files {
		if err := os.MkdirAll(filepath.Dir(f.in(d)), 0o700); err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if f.Public {
			mode = 0o644
		}
		data := f.Data
		if strings.HasSuffix(f.Path, ".yaml") {
			data = bytes.ReplaceAll(data, []byte(DataDir), []byte(d.Root))
		}
		if err := datadir.WriteFile(f.in(d), data, mode); err != nil {
			return err
		}
	}
	return nil
}

func (f File) in(d datadir.Dir) string { return filepath.Join(d.Root, filepath.FromSlash(f.Path)) }
