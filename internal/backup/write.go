package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// File is one to put into a snapshot: at Path on this machine, or Data if Path is empty.
type File struct {
	// Name is its name in the snapshot, with slashes.
	Name string
	Path string
	Data []byte
}

// Folder returns all files below folder, which are called name/... in the snapshot.
func Folder(name, folder string) ([]File, error) {
	var all []File
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(folder, file)
		all = append(all, File{Name: path.Join(name, filepath.ToSlash(below)), Path: file})
		return err
	})
	return all, err
}

// Write makes the snapshot at to, which must not be there, of m and the files, and reads it
// back. tell is called with bytes that were written and read, and all there will be.
func Write(to string, m Manifest, files []File, seal Seal, tell func(done, total int64)) (err error) {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already: choose another name", to)
	}
	part, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".part-")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name()) // fails once renamed, as it should
	defer part.Close()
	total, err := size(files)
	if err != nil {
		return err
	}
	sum := sha256.New()
	if err := fill(io.MultiWriter(part, sum, &progress{total: 2 * total, tell: tell}), m, files, seal); err != nil {
		return fmt.Errorf("cannot write %s: %w", part.Name(), err)
	}
	if err := part.Sync(); err != nil {
		return fmt.Errorf("cannot write %s: %w", part.Name(), err)
	}
	if err := compare(part, sum.Sum(nil), &progress{done: total, total: 2 * total, tell: tell}); err != nil {
		return fmt.Errorf("cannot read back %s: %w", part.Name(), err)
	}
	// A link, not a rename: nothing that has the name by now is overwritten.
	if err := os.Link(part.Name(), to); err != nil {
		if err := os.Rename(part.Name(), to); err != nil {
			return err
		}
	}
	return syncFolder(filepath.Dir(to))
}

func size(files []File) (total int64, err error) {
	for _, f := range files {
		total += int64(len(f.Data))
		if f.Path == "" {
			continue
		}
		info, err := os.Stat(f.Path)
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}

func fill(to io.Writer, m Manifest, files []File, seal Seal) error {
	recipients, err := seal.recipients()
	if err != nil {
		return err
	}
	var sealed io.WriteCloser
	if recipients != nil {
		if sealed, err = age.Encrypt(to, recipients...); err != nil {
			return err
		}
		to = sealed
	}
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	w := writer{archive: tar.NewWriter(to), taken: m.Taken}
	for _, f := range append([]File{{Name: manifestName, Data: append(manifest, '\n')}}, files...) {
		if err := w.add(f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	err = w.put(sumsName, 0o600, int64(w.sums.Len()), bytes.NewReader(w.sums.Bytes()))
	err = errors.Join(err, w.archive.Close())
	if sealed != nil {
		err = errors.Join(err, sealed.Close())
	}
	return err
}

// compare reads what is on the disk, not what is in memory still.
func compare(file *os.File, want []byte, read io.Writer) error {
	_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	is := sha256.New()
	if _, err := io.Copy(io.MultiWriter(is, read), file); err != nil {
		return err
	}
	if !bytes.Equal(is.Sum(nil), want) {
		return errors.New("the disk returns something else than was written: it is faulty")
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
