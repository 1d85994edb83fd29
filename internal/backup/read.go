package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSmall bounds what is held in memory: the manifest and the sums.
const maxSmall = 1 << 20

// errShort: the end is missing.
var errShort = &DamagedError{"it is cut short"}

// Verify reads the snapshot at path to its end, and compares every file in it with its
// hash. tell is called with the bytes that were read, and all there are.
func Verify(path string, keys Keys, tell func(done, total int64)) (Manifest, error) {
	return read(path, keys, tell, func(string, os.FileMode, io.Reader) error { return nil })
}

// Extract does what Verify does, and writes the files into folder. After an error nothing in it is
// to be used.
func Extract(path string, keys Keys, folder string, tell func(done, total int64)) (Manifest, error) {
	return read(path, keys, tell, func(name string, mode os.FileMode, content io.Reader) error {
		to := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := io.Copy(file, content); err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}

// read hands each file to take, which may leave some of it.
func read(path string, keys Keys, tell func(done, total int64), take func(string, os.FileMode, io.Reader) error) (m Manifest, err error) {
	file, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return m, err
	}
	m, err = readArchive(io.TeeReader(file, &progress{total: info.Size(), tell: tell}), keys, take)
	if err != nil {
		return m, fmt.Errorf("cannot use the snapshot %s: %w", path, err)
	}
	return m, nil
}

func readArchive(file io.Reader, keys Keys, take func(string, os.FileMode, io.Reader) error) (m Manifest, err error) {
	opened, err := keys.open(file)
	if err != nil {
		return m, err
	}
	archive, sums := tar.NewReader(opened), &bytes.Buffer{}
	for first := true; ; first = false {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return m, errShort
		case errors.As(err, new(*DamagedError)):
			return m, err
		case err != nil && first:
			return m, &DamagedError{"it is no snapshot of a supervisor"}
		case err != nil:
			return m, &DamagedError{err.Error()}
		case header.Typeflag != tar.TypeReg || !filepath.IsLocal(filepath.FromSlash(header.Name)):
			return m, &DamagedError{fmt.Sprintf("it holds %q, which is no file of a snapshot", header.Name)}
		case first != (header.Name == manifestName):
			return m, &DamagedError{"it is no snapshot of a supervisor"}
		}
		if header.Name == sumsName {
			return m, finish(archive, opened, sums.String())
		}
		sum, small := sha256.New(), &bytes.Buffer{}
		content := io.TeeReader(archive, sum)
		if first {
			content = io.TeeReader(content, small)
			if header.Size > maxSmall {
				return m, &DamagedError{"it is no snapshot of a supervisor"}
			}
		}
		if err := take(header.Name, header.FileInfo().Mode().Perm(), content); err != nil {
			return m, broken(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return m, broken(err)
		}
		sums.WriteString(sumLine(sum.Sum(nil), header.Name))
		if first {
			if m, err = parseManifest(small.Bytes()); err != nil {
				return m, err
			}
		}
	}
}

// finish compares the hashes, and reads on to the end: only there age knows that nothing
// was changed.
func finish(archive io.Reader, opened io.Reader, is string) error {
	want, err := io.ReadAll(io.LimitReader(archive, maxSmall))
	if err == nil {
		_, err = io.Copy(io.Discard, opened)
	}
	if err != nil {
		return broken(err)
	}
	if string(want) == is {
		return nil
	}
	for line := range strings.Lines(is) {
		if !strings.Contains(string(want), line) {
			_, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
			return &DamagedError{fmt.Sprintf("it is damaged: %s does not have the hash it was written with", name)}
		}
	}
	return &DamagedError{"it is damaged: files are missing"}
}

// broken tells what ended too early from other errors.
func broken(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errShort
	}
	return err
}

func sumLine(sum []byte, name string) string { return hex.EncodeToString(sum) + "  " + name + "\n" }

// progress counts what is written to it.
type progress struct {
	done, total int64
	tell        func(done, total int64)
}

func (p *progress) Write(data []byte) (int, error) {
	p.done += int64(len(data))
	p.tell(p.done, max(p.done, p.total))
	return len(data), nil
}
