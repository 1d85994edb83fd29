package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
)

// DataDir stands in the settings of a snapshot for the data directory.
const DataDir = "$DATA_DIR"

// RestoredFolder is where settings are put, below the data directory: which of them are to
// count is the user's to say.
const RestoredFolder = "restored"

// Restored is what a restore has done.
type Restored struct {
	Manifest Manifest
	// Aside is the folder that keeps what was there before, or empty.
	Aside string
	// Own is the path of the snapshot of the etcd of custom resources, which is not ours to
	// restore, or empty.
	Own string
	// Before: an earlier restore of the same snapshot had been interrupted, and is done now.
	Before bool
}

// Choice is what a restore is to do.
type Choice struct {
	// Replace: data that is there is kept aside; otherwise there must be none.
	Replace bool
	// PKI: certificates and keys are restored too.
	PKI bool
}

// Restore puts a snapshot in the place of etcd's data and, if chosen, of the certificates and
// keys of a data directory. All of it is there at once or, after an error, nothing.
func Restore(h *datadir.Handle, path string, keys Keys, choice Choice, tell Tell) (r Restored, err error) {
	if was, ok := interrupted(h, path, keys); ok {
		return was, nil
	}
	if has := Occupied(h.Dir); has != "" && !choice.Replace {
		return r, &OccupiedError{has}
	}
	info, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	staging, err := h.Stage()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, h.Unstage()) }()
	if err := checkRoom(map[string]int64{staging: 2 * info.Size()}); err != nil {
		return r, err
	}
	if r.Manifest, err = Extract(path, keys, staging, tell.at("reading")); err != nil {
		return r, err
	}
	main := filepath.Join(staging, MainName)
	if _, err := etcd.Inspect(main); err != nil {
		return r, err
	}
	tell("restoring etcd", 0, 1)
	if err := etcd.Restore(etcd.Restoration{Snapshot: main, Dir: filepath.Join(staging, "etcd"), Member: etcd.Embedded, Forward: true}); err != nil {
		return r, err
	}
	tell("restoring etcd", 1, 1)
	if err := os.Remove(main); err != nil {
		return r, err
	}
	if err := settle(staging, h.Dir, r.Manifest); err != nil {
		return r, err
	}
	folders := []string{"etcd", RestoredFolder}
	if choice.PKI {
		folders = append(folders, PKIFolder)
	}
	if r.Aside, err = h.Replace(folders...); err != nil {
		return r, err
	}
	r.Own = ownIn(h.Dir)
	return r, nil
}

// settle makes the folder of the settings of what else is in a snapshot.
func settle(staging string, to datadir.Dir, m Manifest) error {
	restored := filepath.Join(staging, RestoredFolder)
	if err := os.Rename(filepath.Join(staging, ConfigFolder), restored); errors.Is(err, os.ErrNotExist) {
		err = os.Mkdir(restored, 0o700)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	settings, err := filepath.Glob(filepath.Join(restored, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range settings {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := datadir.WriteFile(file, bytes.ReplaceAll(data, []byte(DataDir), []byte(to.Root)), 0o600); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(staging, manifestName), filepath.Join(restored, manifestName)); err != nil {
		return err
	}
	if m.ExtensionsEtcd == nil {
		return nil
	}
	return os.Rename(filepath.Join(staging, OwnName), filepath.Join(restored, OwnName))
}

func ownIn(d datadir.Dir) string {
	own := filepath.Join(d.Root, RestoredFolder, OwnName)
	if _, err := os.Stat(own); err != nil {
		return ""
	}
	return own
}

// interrupted tells whether opening the directory has just finished a restore of the same
// snapshot.
func interrupted(h *datadir.Handle, path string, keys Keys) (Restored, bool) {
	if !h.Completed {
		return Restored{}, false
	}
	data, err := os.ReadFile(filepath.Join(h.Root, RestoredFolder, manifestName))
	if err != nil {
		return Restored{}, false
	}
	is, err := parseManifest(data)
	if err != nil {
		return Restored{}, false
	}
	of, err := peek(path, keys)
	if err != nil || !reflect.DeepEqual(is, of) {
		return Restored{}, false
	}
	return Restored{Manifest: is, Own: ownIn(h.Dir), Before: true}, true
}

var errPeeked = errors.New("enough")

// peek reads the manifest alone.
func peek(path string, keys Keys) (m Manifest, err error) {
	file, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer file.Close()
	var first bytes.Buffer
	_, err = readArchive(file, keys, func(_ string, _ os.FileMode, content io.Reader) error {
		if _, err := io.Copy(&first, content); err != nil {
			return err
		}
		return errPeeked
	})
	if !errors.Is(err, errPeeked) {
		return m, err
	}
	return parseManifest(first.Bytes())
}

// OccupiedError tells that a data directory holds data, which was not to be replaced.
type OccupiedError struct{ what string }

func (e *OccupiedError) Error() string {
	return e.what + ": give --replace to put the snapshot in its place and keep it aside, or another --data-dir"
}

// Occupied says what a data directory holds that a restore would take the place of, or "".
func Occupied(d datadir.Dir) string {
	var has []string
	for _, path := range []string{filepath.Join(d.Etcd(), "member"), filepath.Join(d.PKI(), "ca.crt"), filepath.Join(d.PKI(), "sa.key")} {
		if _, err := os.Lstat(path); err == nil {
			has = append(has, path)
		}
	}
	if len(has) == 0 {
		return ""
	}
	return fmt.Sprintf("%s holds data already (%s)", d.Root, strings.Join(has, ", "))
}
