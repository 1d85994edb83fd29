package datadir

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// Format is the version of the layout that this program writes. It is raised
// when an older program could no longer use, or would damage, what is written.
const Format = 1

const (
	markerName = "triptych.yaml"
	// temporaryPrefix is of files that WriteFile has not yet named; one may be
	// left by a crash and must not make the directory look foreign.
	temporaryPrefix = ".triptych-"
)

// mayPrecede is what a directory may hold before its first use: the user's own
// CA in pki/, and what mkfs puts on every disk.
var mayPrecede = map[string]bool{"pki": true, "lost+found": true}

type marker struct {
	Format int `json:"format"`
}

// claim checks the marker, or writes it if the directory is still free.
func (d Dir) claim() error {
	data, err := os.ReadFile(d.marker())
	if errors.Is(err, os.ErrNotExist) {
		return d.mark()
	}
	if err != nil {
		return explain(err)
	}
	var m marker
	if err := yaml.UnmarshalStrict(data, &m); err != nil || m.Format < 1 {
		return fmt.Errorf("its marker %s is damaged: if the directory is a triptych's, write %q into it",
			d.marker(), content())
	}
	if m.Format > Format {
		return fmt.Errorf("its format %d is newer than %d, the newest this version knows: "+
			"use the version of triptych that wrote it, or a newer one", m.Format, Format)
	}
	return nil
}

func (d Dir) mark() error {
	entries, err := os.ReadDir(d.Root)
	if err != nil {
		return explain(err)
	}
	for _, e := range entries {
		if !mayPrecede[e.Name()] && !strings.HasPrefix(e.Name(), temporaryPrefix) {
			return fmt.Errorf("it holds %s but no %s, so it is not a triptych's: "+
				"choose an empty or new directory", e.Name(), markerName)
		}
	}
	return WriteFile(d.marker(), []byte(content()+"\n"), 0o600)
}

func content() string { return fmt.Sprintf("format: %d", Format) }
