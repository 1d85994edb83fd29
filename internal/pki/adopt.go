package pki

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"triptych.dev/triptych/internal/datadir"
)

// Adopt copies what all hosts of a cluster have in common from folder into the data directory, which
// must be open and locked: files of the same names as below DIR/pki. The certificates of the three CAs
// must be there; keys may be left out that this host is not to have. A file that is here already must be
// the same: whoever holds what another CA signed would be locked out.
func Adopt(dir datadir.Dir, folder string) error {
	p := Paths{dir}
	needed := []string{p.CA().Cert, p.FrontProxyCA().Cert, p.pair(internalCAName).Cert}
	for _, file := range p.Shared() {
		name, err := filepath.Rel(dir.PKI(), file)
		if err != nil {
			return err
		}
		from := filepath.Join(folder, name)
		data, err := os.ReadFile(from)
		if os.IsNotExist(err) && !slices.Contains(needed, file) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot take %s over: %w", name, unreadable(err))
		}
		if err := adopt(file, from, data); err != nil {
			return err
		}
	}
	return nil
}

func adopt(file, from string, data []byte) error {
	switch here, err := os.ReadFile(file); {
	case err == nil && bytes.Equal(here, data):
		return nil
	case err == nil:
		return fmt.Errorf("%s is not the same as %s: remove the former if the latter is to count, with all that it signed", file, from)
	case !os.IsNotExist(err):
		return unreadable(err)
	}
	mode := os.FileMode(certMode)
	if strings.HasSuffix(file, ".key") {
		mode = keyMode
	}
	return datadir.WriteFile(file, data, mode)
}
